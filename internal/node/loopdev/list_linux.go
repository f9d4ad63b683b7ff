package loopdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deletedMark follows the path of a backing file that has been deleted.
const deletedMark = " (deleted)"

// Info is a loop device that has a file behind it.
type Info struct {
	// Path names the device.
	Path string
	// Number is the device's own number, as stat(2) gives it for files of a
	// file system that is mounted from it.
	Number uint64
	// Backing is the file's path as this process sees it. Deleted: the file is no
	// longer there.
	Backing string
	Deleted bool
	// Device and Inode are what stat(2) gives for the file.
	Device, Inode uint64
	// ReadOnly and Autoclear are how the device was attached.
	ReadOnly, Autoclear bool
}

// List returns all loop devices that have a file behind them.
func List() ([]Info, error) {
	dirs, err := filepath.Glob("/sys/block/loop[0-9]*/loop")
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var list []Info
	for _, dir := range dirs {
		info, err := inspect(filepath.Dir(dir))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list loop devices: %w", err)
		}
		list = append(list, info)
	}
	return list, nil
}

// Lookup describes the loop device of a number (stat's Dev of a file inside).
// The error wraps fs.ErrNotExist if that is no loop device with a file.
func Lookup(number uint64) (Info, error) {
	sys, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(number), unix.Minor(number)))
	if err != nil {
		return Info{}, fmt.Errorf("look up loop device: %w", err)
	}
	info, err := inspect(sys)
	if gone(err) {
		return Info{}, fmt.Errorf("look up loop device %s: %w", filepath.Base(sys), fs.ErrNotExist)
	}
	if err != nil {
		return Info{}, fmt.Errorf("look up loop device: %w", err)
	}
	return info, nil
}

// gone tells that a device was cleared while it was being looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV)
}

// inspect describes the device of a directory in sysfs.
func inspect(sys string) (Info, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(sys), "loop"))
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", sys, fs.ErrNotExist)
	}
	backing, err := os.ReadFile(sys + "/loop/backing_file")
	if err != nil {
		return Info{}, err
	}
	major, minor, err := deviceNumber(sys)
	if err != nil {
		return Info{}, err
	}
	node, err := openNode(number)
	if err != nil {
		return Info{}, err
	}
	defer node.Close()
	status, err := unix.IoctlLoopGetStatus64(int(node.Fd()))
	if err != nil {
		return Info{}, fmt.Errorf("LOOP_GET_STATUS64 of %s: %w", node.Name(), err)
	}
	info := Info{
		Path:      node.Name(),
		Number:    unix.Mkdev(major, minor),
		Device:    status.Device,
		Inode:     status.Inode,
		ReadOnly:  status.Flags&unix.LO_FLAGS_READ_ONLY != 0,
		Autoclear: status.Flags&unix.LO_FLAGS_AUTOCLEAR != 0,
	}
	info.Backing, info.Deleted = strings.CutSuffix(strings.TrimSuffix(string(backing), "\n"), deletedMark)
	return info, nil
}

// Detach clears the loop device at path. Where it is still open or mounted,
// the kernel clears it at its last use instead. One without a file is no error.
func Detach(path string) error {
	node, err := openBlock(path)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer node.Close()
	if err := unix.IoctlSetInt(int(node.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !gone(err) {
		return fmt.Errorf("detach %s: LOOP_CLR_FD: %w", path, err)
	}
	return nil
}
