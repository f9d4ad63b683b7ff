package runc

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// unmountBelow unmounts what runc has left in its own directory dir: it mounts its
// program there for a moment, to start from a copy that no container can write to, and
// may be killed at that moment.
func unmountBelow(dir string) error {
	target, err := filepath.EvalSymlinks(dir) // as the kernel names it
	if err != nil {
		return nil //nolint:nilerr // it is gone
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(target))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount what runc has left at %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
