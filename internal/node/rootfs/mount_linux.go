package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// mountFlags go for layers and overlays. A worker gains no new privileges and
// has its own /dev, so that set-user-id programs and devices of an image are
// of no use to it, only to those who would break out.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV

// mountSquashfs mounts a device read-only. By itself the kernel would use one
// decompressor per mount, whatever the number of readers (Linux 6.2 and later,
// CONFIG_SQUASHFS_CHOICE_DECOMP_BY_MOUNT). "multi" adds them when they are
// needed; "percpu" would take the memory of one for each CPU up front.
func mountSquashfs(device, target string) error {
	err := unix.Mount(device, target, "squashfs", unix.MS_RDONLY|mountFlags, "threads=multi")
	if errors.Is(err, unix.EINVAL) { // the kernel does not know the option
		err = unix.Mount(device, target, "squashfs", unix.MS_RDONLY|mountFlags, "")
	}
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("no squashfs in this kernel; load the module: modprobe squashfs: %w", err)
	}
	return err
}

func isSquashfs(path string) bool { return isMount(path, unix.SQUASHFS_MAGIC) }

func isOverlay(path string) bool { return isMount(path, unix.OVERLAYFS_SUPER_MAGIC) }

// isMount tells whether a file system of that kind is mounted at path. It asks
// for the device, as the table of mounts of a busy node takes long to read.
func isMount(path string, magic int64) bool {
	var fs unix.Statfs_t
	var inside, above unix.Stat_t
	return unix.Statfs(path, &fs) == nil && fs.Type == magic &&
		unix.Lstat(path, &inside) == nil && unix.Lstat(path+"/..", &above) == nil &&
		inside.Dev != above.Dev
}
