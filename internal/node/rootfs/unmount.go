package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/backoff"
)

// busyLimit is how long a mount may stay busy. The processes of a container
// are gone when it is unmounted, so what still holds it is short-lived, such
// as a scan of the disk, or a person's shell.
const busyLimit = 5 * time.Second

// busyPauses are those between two tries to unmount what is busy.
var busyPauses = backoff.Policy{First: time.Millisecond, Last: 250 * time.Millisecond}

// Unmount removes owner's root file system and lets go of its layers; idle
// layers above KeepMounts are unmounted. The container must have ended. What
// is not there is no error. A root file system that a process of the host
// keeps busy is an error that wraps ErrBusy; everything else is as it was, and
// the call can be repeated. It is never detached lazily: that would hide the
// mount from every later look, and delete files under somebody's feet.
func (m *Manager) Unmount(ctx context.Context, owner string) error {
	switch {
	case m.dirs.root == "":
		return fmt.Errorf("unmount root file system of %s: %w", owner, ErrNotRecovered)
	case !ownerForm.MatchString(owner):
		return fmt.Errorf("unmount root file system of %q: %w: not a valid name", owner, ErrInvalid)
	}
	unlock, err := m.locks.lock(ctx, "owner "+owner)
	if err != nil {
		return fmt.Errorf("unmount root file system of %s: %w", owner, err)
	}
	defer unlock()
	if err := m.remove(ctx, owner); err != nil {
		return fmt.Errorf("unmount root file system of %s: %w", owner, err)
	}
	return m.Reap(ctx)
}

// remove undoes what build makes, top first, and whatever part of it is there.
func (m *Manager) remove(ctx context.Context, owner string) error {
	if err := m.unmount(ctx, m.dirs.rootfs(owner)); err != nil {
		return err
	}
	if err := m.removeOwnerDirs(owner); err != nil {
		return err
	}
	m.leave(owner)
	return nil
}

// unmount removes every mount at target, one on top of the other.
func (m *Manager) unmount(ctx context.Context, target string) error {
	waited, failures := time.Duration(0), 0
	for {
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil // not a mount point (any more)
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("unmount %s: %w", target, err)
		case waited >= busyLimit:
			return fmt.Errorf("unmount %s: %w; find its users: fuser -vm %s", target, ErrBusy, target)
		}
		// The kernel has no event for the last file that is closed.
		failures++
		pause := busyPauses.Pause(failures)
		if err := m.wait(ctx, pause); err != nil {
			return fmt.Errorf("unmount %s: %w: %w", target, ErrBusy, err)
		}
		waited += pause
	}
}

// removeOwnerDirs deletes the directories of an overlay that is unmounted,
// and the owner's own if nothing else is in it. It never crosses a mount.
func (m *Manager) removeOwnerDirs(owner string) error {
	root, err := os.OpenRoot(m.dirs.owner(owner))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	// rmdir, not RemoveAll: whatever is mounted there stays whole.
	if err := root.Remove("rootfs"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", m.dirs.rootfs(owner), err)
	}
	for _, dir := range []string{"upper", "work"} {
		if err := removeUnmounted(root, dir); err != nil {
			return fmt.Errorf("delete %s of %s: %w", dir, owner, err)
		}
	}
	err = os.Remove(m.dirs.owner(owner))
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeUnmounted deletes the directory name and all in it, unless something
// is mounted there.
func removeUnmounted(root *os.Root, name string) error {
	if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root.Name() + "/" + name))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is mounted; unmount it first", mounts[0].Mountpoint)
	}
	return root.RemoveAll(name)
}
