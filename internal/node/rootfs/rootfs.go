// Package rootfs creates the root file systems of workers: squashfs layers on loop
// devices, each mounted once per node and shared, and an overlay with a writable upper
// directory per worker. Only the kernel keeps what is mounted; Recover reads it, so a
// process may die between any two steps.
//
// Layout below the run root, which only root can read:
//
//	layers/<squashfs hex>/mnt             one layer, named by its content
//	workers/<owner>/{rootfs,upper,work}   one overlay; other packages may add files
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/node/loopdev"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Errors that callers distinguish.
var (
	// ErrBusy is a root file system that a process of the host still uses.
	ErrBusy = errors.New("still in use")
	// ErrOtherLayers is an owner that has a root file system of other layers.
	ErrOtherLayers = errors.New("owner has a root file system of other layers; unmount it first")
	// ErrUntrusted is a file or directory that users other than root can change.
	ErrUntrusted = errors.New("not safe from users other than root")
	// ErrInvalid is an owner, or a list of layers, that no mount can be made of.
	ErrInvalid = errors.New("cannot be mounted")
	// ErrNotRecovered is a Manager in use before its Recover.
	ErrNotRecovered = errors.New("mounts have not been recovered yet")
)

// undoLimit bounds the clean-up after a failed Mount, which goes on when the
// caller's context has ended.
const undoLimit = 10 * time.Second

// Options configure a Manager.
type Options struct {
	// RunRoot is an absolute path; it is made, for root only, if it is missing.
	RunRoot string
	// LayersDir is where layer files lie. Recover clears loop devices that a
	// killed process left attached to files there. Empty: it clears none.
	LayersDir string
	// KeepMounts is how many layers stay mounted although nobody uses them
	// all: above it, idle ones are unmounted, least recently used first
	// (storm.oci.layer.mounts.to.keep).
	KeepMounts int
}

// Manager mounts and unmounts root file systems. Its methods may be called
// side by side, but for Recover, which comes before all others.
type Manager struct {
	opts  Options
	dirs  layout // empty until Recover
	locks locks

	attach  func(*os.File) (*loopdev.Device, error)
	overlay func(Overlay) error
	wait    func(context.Context, time.Duration) error
	now     func() time.Time

	mu     sync.Mutex
	layers map[digest.Digest]*layer
	owners map[string][]digest.Digest // layers of mounted overlays, base first
}

// New returns a Manager that does nothing until Recover.
func New(opts Options) *Manager {
	return &Manager{
		opts:    opts,
		attach:  loopdev.Attach,
		overlay: mountOverlay,
		wait:    backoff.Wait,
		now:     time.Now,
		layers:  map[digest.Digest]*layer{},
		owners:  map[string][]digest.Digest{},
	}
}

// Mount returns the directory of owner's root file system, made of layers
// (base first) below a writable top. A second call with the same layers
// returns the same directory. When it fails, nothing of owner is left; layers
// that it mounted are idle, as after Unmount. Errors wrap ErrInvalid,
// ErrUntrusted, ErrOtherLayers, ErrBusy or the kernel's errno.
func (m *Manager) Mount(ctx context.Context, owner string, layers []manifest.LocalLayer) (string, error) {
	if m.dirs.root == "" {
		return "", fmt.Errorf("mount root file system of %s: %w", owner, ErrNotRecovered)
	}
	p, err := newPlan(m.dirs, owner, layers)
	if err != nil {
		return "", err
	}
	unlock, err := m.locks.lock(ctx, "owner "+owner)
	if err != nil {
		return "", fmt.Errorf("mount root file system of %s: %w", owner, err)
	}
	defer unlock()
	switch done, err := m.mounted(owner, p); {
	case err != nil:
		return "", err
	case done:
		return p.Overlay.Target, nil
	}
	// What a call that was killed has left would show through the new mount.
	if err := m.remove(ctx, owner); err != nil {
		return "", fmt.Errorf("mount root file system of %s: %w", owner, err)
	}
	if err := m.build(ctx, owner, p); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
		defer cancel()
		err = errors.Join(err, m.remove(undo, owner), m.Reap(undo))
		return "", fmt.Errorf("mount root file system of %s: %w", owner, err)
	}
	return p.Overlay.Target, nil
}

// mounted tells whether owner's root file system is what p makes. One that was
// unmounted behind our back is not.
func (m *Manager) mounted(owner string, p Plan) (bool, error) {
	m.mu.Lock()
	have, ok := m.owners[owner]
	m.mu.Unlock()
	if !ok || !isOverlay(p.Overlay.Target) {
		return false, nil
	}
	if !slices.Equal(have, p.digests()) {
		return false, fmt.Errorf("mount root file system of %s: %w", owner, ErrOtherLayers)
	}
	return true, nil
}

// build makes the mounts of p, layers first.
func (m *Manager) build(ctx context.Context, owner string, p Plan) error {
	for _, l := range p.Layers {
		if err := m.acquire(ctx, owner, l); err != nil {
			return err
		}
	}
	for _, dir := range p.Dirs {
		if err := os.MkdirAll(dir.Path, dir.Mode); err != nil {
			return err
		}
	}
	if err := m.overlay(p.Overlay); err != nil {
		return fmt.Errorf("mount overlay of %d layers at %s: %w", len(p.Overlay.Lower), p.Overlay.Target, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owners[owner] = p.digests()
	return nil
}
