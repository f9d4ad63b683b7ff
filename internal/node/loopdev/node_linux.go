package loopdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loopMajor is the major number of loop devices (Documentation/admin-guide/devices.txt).
const loopMajor = 7

// openNode opens loop device number for reading. A /dev that is no devtmpfs,
// as in some containers, lacks the nodes of devices made on demand: the
// missing node is made.
func openNode(number int) (*os.File, error) {
	path := nodePath(number)
	node, err := openBlock(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeNode(number, path); err != nil {
			return nil, err
		}
		node, err = openBlock(path)
	}
	return node, err
}

func nodePath(number int) string { return "/dev/loop" + strconv.Itoa(number) }

func sysPath(number int) string { return "/sys/block/loop" + strconv.Itoa(number) }

// openBlock opens a loop device and nothing else: mount(2) and ioctls of root
// shall not reach a node of another kind that lies in its place.
func openBlock(path string) (*os.File, error) {
	node, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(node.Fd()), &st); err != nil {
		node.Close()
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || unix.Major(st.Rdev) != loopMajor {
		node.Close()
		return nil, fmt.Errorf("%s is not a loop device", path)
	}
	return node, nil
}

// makeNode makes the device node that the kernel describes in sysfs; its minor
// number differs from the device's own where loop devices have partitions.
func makeNode(number int, path string) error {
	major, minor, err := deviceNumber(sysPath(number))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("loop device %d: %w", number, unix.ENXIO) // removed meanwhile
	}
	if err != nil {
		return err
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))) //nolint:gosec // the kernel takes 32 bits of it
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make device node %s: %w", path, err)
	}
	return nil
}

// deviceNumber reads the "major:minor" of a block device's directory in sysfs.
func deviceNumber(sys string) (major, minor uint32, err error) {
	content, err := os.ReadFile(sys + "/dev")
	if err != nil {
		return 0, 0, err
	}
	high, low, _ := strings.Cut(strings.TrimSpace(string(content)), ":")
	maj, err := strconv.ParseUint(high, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s/dev: %w", sys, err)
	}
	mnr, err := strconv.ParseUint(low, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s/dev: %w", sys, err)
	}
	return uint32(maj), uint32(mnr), nil
}
