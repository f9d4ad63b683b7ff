package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/loopdev"
)

// mountedLayer is a mounted layer as the choice of surplus needs it.
type mountedLayer struct {
	digest digest.Digest
	idle   bool
	// deleted tells that the file behind an idle mount has been deleted: the
	// mount only keeps its space from being freed.
	deleted bool
	used    time.Time
}

// surplus returns the idle layers to unmount, so that at most keep stay
// mounted: those without a file in any case, then the least recently used.
func surplus(mounted []mountedLayer, keep int) []digest.Digest {
	idle := slices.DeleteFunc(slices.Clone(mounted), func(l mountedLayer) bool { return !l.idle })
	slices.SortFunc(idle, func(a, b mountedLayer) int {
		if a.deleted != b.deleted {
			if a.deleted {
				return -1
			}
			return 1
		}
		return a.used.Compare(b.used)
	})
	var out []digest.Digest
	for _, l := range idle {
		if l.deleted || len(mounted)-len(out) > keep {
			out = append(out, l.digest)
		}
	}
	return out
}

// Reap unmounts idle layers above KeepMounts, and those whose file has been
// deleted. Unmount calls it; so should who deletes layer files, to have their
// space freed. A layer that a process of the host keeps busy is left for the
// next time.
func (m *Manager) Reap(ctx context.Context) error {
	var errs []error
	for _, d := range surplus(m.mountedLayers(), m.opts.KeepMounts) {
		if err := m.unmountLayer(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("unmount layer %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) mountedLayers() []mountedLayer {
	m.mu.Lock()
	var mounted []mountedLayer
	for d, l := range m.layers {
		if l.mounted {
			mounted = append(mounted, mountedLayer{digest: d, idle: len(l.users) == 0, used: l.used})
		}
	}
	m.mu.Unlock()
	for i, l := range mounted {
		if l.idle {
			mounted[i].deleted = backingDeleted(m.dirs.layerMnt(l.digest))
		}
	}
	return mounted
}

// backingDeleted tells whether the file of the layer mounted at target has
// been deleted. When in doubt it has not.
func backingDeleted(target string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(target, &st); err != nil {
		return false
	}
	info, err := loopdev.Lookup(st.Dev)
	return err == nil && info.Deleted
}

// unmountLayer unmounts a layer if it has no user.
func (m *Manager) unmountLayer(ctx context.Context, d digest.Digest) error {
	unlock, err := m.locks.lock(ctx, d.String())
	if err != nil {
		return err
	}
	defer unlock()
	// A user that joins from here on waits for the lock and mounts anew.
	if !m.idle(d) {
		return nil
	}
	err = unix.Unmount(m.dirs.layerMnt(d), unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil
	case err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT):
		return err
	}
	if err := m.removeLayerDirs(d); err != nil {
		return err
	}
	m.forget(d)
	return nil
}

func (m *Manager) idle(d digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.layers[d]
	return l != nil && len(l.users) == 0
}

// forget notes that a layer is not mounted.
func (m *Manager) forget(d digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.layers[d]; l != nil && len(l.users) > 0 {
		l.mounted = false
		return
	}
	delete(m.layers, d)
}
