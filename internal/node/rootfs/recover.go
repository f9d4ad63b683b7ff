package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/loopdev"
)

// Recover reads from the kernel and the disk what an earlier process left. It keeps the
// mounts of the live owners (their layers by squashfs digest, base first) and removes all
// others. It also removes those of an owner without an overlay, as after a reboot, to be
// mounted again. Idle layers stay within KeepMounts. It continues after an error and
// returns all errors.
func (m *Manager) Recover(ctx context.Context, live map[string][]digest.Digest) error {
	dirs, err := openLayout(m.opts.RunRoot)
	if err != nil {
		return err
	}
	m.dirs = dirs
	found, err := look(dirs)
	if err != nil {
		return fmt.Errorf("read mounts below %s: %w", dirs.root, err)
	}
	v := sift(dirs, found, live)
	var errs []error
	for _, target := range v.unmount {
		errs = append(errs, m.unmountStale(ctx, target))
	}
	for _, owner := range v.strayOwners {
		errs = append(errs, m.removeOwnerDirs(owner))
	}
	for _, d := range v.strayLayers {
		errs = append(errs, m.removeLayerDirs(d))
	}
	m.adopt(v, live)
	errs = append(errs, m.Reap(ctx), m.clearLoopDevices())
	return errors.Join(errs...)
}

// found is what lies below a run root.
type found struct {
	mounts []*mountinfo.Info // in the order of mounting
	owners []string          // names in workers/
	layers map[string]time.Time
}

// verdict says what to do with what was found.
type verdict struct {
	unmount     []string // mount points, in the order to unmount them
	strayOwners []string // whose directories are to be deleted
	strayLayers []digest.Digest
	owners      []string // with a root file system to adopt
	layers      map[digest.Digest]time.Time
}

// look reads the mounts and directories of a run root.
func look(dirs layout) (found, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dirs.root))
	if err != nil {
		return found{}, err
	}
	f := found{mounts: mounts, layers: map[string]time.Time{}}
	owners, err := os.ReadDir(dirs.workersDir())
	if err != nil {
		return found{}, err
	}
	for _, o := range owners {
		if o.IsDir() {
			f.owners = append(f.owners, o.Name())
		}
	}
	layers, err := os.ReadDir(dirs.layersDir())
	if err != nil {
		return found{}, err
	}
	for _, l := range layers {
		info, err := l.Info()
		if err != nil {
			return found{}, err
		}
		f.layers[l.Name()] = info.ModTime()
	}
	return f, nil
}

// sift decides what of the found stays. It names nothing outside of layers/
// and workers/, and in the directory of a live owner only its root file system.
func sift(dirs layout, f found, live map[string][]digest.Digest) verdict {
	v := verdict{layers: map[digest.Digest]time.Time{}}
	for _, mount := range f.mounts {
		if d, ok := dirs.layerOf(mount.Mountpoint); ok && mount.FSType == "squashfs" {
			v.layers[d] = f.layers[d.Encoded()]
			continue
		}
		owner, ok := dirs.ownerOf(mount.Mountpoint)
		_, lives := live[owner]
		isRootfs := ok && mount.Mountpoint == dirs.rootfs(owner)
		switch {
		case isRootfs && lives && mount.FSType == "overlay":
			v.owners = append(v.owners, owner)
		case isRootfs, ok && !lives, dirs.inLayers(mount.Mountpoint):
			v.unmount = append(v.unmount, mount.Mountpoint)
		}
	}
	// What was mounted last lies on top.
	slices.Reverse(v.unmount)
	for _, owner := range f.owners {
		if !slices.Contains(v.owners, owner) && ownerForm.MatchString(owner) {
			v.strayOwners = append(v.strayOwners, owner)
		}
	}
	for name := range f.layers {
		d, ok := dirs.layerOf(dirs.layersDir() + "/" + name + "/mnt")
		if _, mounted := v.layers[d]; ok && !mounted {
			v.strayLayers = append(v.strayLayers, d)
		}
	}
	return v
}

// adopt takes over the mounts that stay.
func (m *Manager) adopt(v verdict, live map[string][]digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.layers)
	clear(m.owners)
	for d, used := range v.layers {
		m.layers[d] = &layer{users: map[string]bool{}, mounted: true, used: used}
	}
	for _, owner := range v.owners {
		m.owners[owner] = unique(live[owner])
		for _, d := range live[owner] {
			// One that is not mounted any more is no loss to the overlay.
			if l := m.layers[d]; l != nil {
				l.users[owner] = true
			}
		}
	}
}

// unmountStale unmounts what belongs to no live owner. If a process of the
// host keeps it busy, it is detached: unlike Unmount, this has no caller who
// comes again, and the node cannot wait for a forgotten shell.
func (m *Manager) unmountStale(ctx context.Context, target string) error {
	err := m.unmount(ctx, target)
	if !errors.Is(err, ErrBusy) || ctx.Err() != nil {
		return err
	}
	if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("detach %s: %w", target, err)
	}
	return nil
}

// clearLoopDevices clears devices that are attached to our layer files,
// mounted nowhere, and would not clear themselves: those of a process that was
// killed within loopdev.AttachInSteps.
func (m *Manager) clearLoopDevices() error {
	if m.opts.LayersDir == "" {
		return nil
	}
	files, err := fileIDs(m.opts.LayersDir)
	if err != nil {
		return err
	}
	devices, err := loopdev.List()
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	mounted := map[[2]int]bool{}
	for _, mount := range mounts {
		mounted[[2]int{mount.Major, mount.Minor}] = true
	}
	var errs []error
	for _, d := range devices {
		number := [2]int{int(unix.Major(d.Number)), int(unix.Minor(d.Number))}
		if !d.Autoclear && !mounted[number] && files[fileID{d.Device, d.Inode}] {
			errs = append(errs, loopdev.Detach(d.Path))
		}
	}
	return errors.Join(errs...)
}
