package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// layer is what is known of a layer that is mounted or wanted. An overlay does
// not keep its lower mounts busy, so the users are what keeps a layer mounted.
type layer struct {
	users   map[string]bool // owners
	mounted bool
	used    time.Time // the last change of users
}

// acquire mounts a layer for owner, or joins those who use it. Owner counts
// as a user from the start, so that Reap leaves the layer alone.
func (m *Manager) acquire(ctx context.Context, owner string, l Layer) error {
	m.join(owner, l.Digest)
	unlock, err := m.locks.lock(ctx, l.Digest.String())
	if err != nil {
		return fmt.Errorf("mount layer %s: %w", l.Digest, err)
	}
	defer unlock()
	// The kernel is asked, for somebody may have unmounted it by hand.
	if !isSquashfs(l.Target) {
		if err := m.mountLayer(l); err != nil {
			return fmt.Errorf("mount layer %s at %s: %w", l.Digest, l.Target, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.layers[l.Digest].mounted = true
	return nil
}

// Mounted is the number of layers that are mounted, used or not.
func (m *Manager) Mounted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, l := range m.layers {
		if l.mounted {
			n++
		}
	}
	return n
}

func (m *Manager) join(owner string, d digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.layers[d]
	if l == nil {
		l = &layer{users: map[string]bool{}}
		m.layers[d] = l
	}
	l.users[owner] = true
	l.used = m.now()
}

// leave makes owner no user of any layer. The time is also set on the layers'
// directories, where the next process finds it.
func (m *Manager) leave(owner string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.owners, owner)
	for d, l := range m.layers {
		if !l.users[owner] {
			continue
		}
		delete(l.users, owner)
		l.used = m.now()
		if !l.mounted && len(l.users) == 0 {
			delete(m.layers, d)
			continue
		}
		// Only the order of eviction after a restart depends on it.
		_ = os.Chtimes(m.dirs.layer(d), l.used, l.used)
	}
}

// mountLayer mounts a layer's file at its target.
func (m *Manager) mountLayer(l Layer) (err error) {
	f, err := openLayer(l.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(l.Target, dirMode); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.removeLayerDirs(l.Digest))
		}
	}()
	device, err := m.attach(f)
	if err != nil {
		return err
	}
	// Once it is mounted the mount keeps the device.
	defer device.Close()
	return mountSquashfs(device.Path(), l.Target)
}

// openLayer opens a file that nobody but root can change: the kernel will
// parse its content for as long as it is mounted.
func openLayer(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = safe(fi)
	}
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrUntrusted)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layer file %s: %w", path, err)
	}
	return f, nil
}

// removeLayerDirs removes the directories of a layer that is not mounted. It
// cannot touch what is inside of a mount.
func (m *Manager) removeLayerDirs(d digest.Digest) error {
	for _, dir := range []string{m.dirs.layerMnt(d), m.dirs.layer(d)} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
