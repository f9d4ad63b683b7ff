package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/worker"
)

const (
	// maxLooked is how many files of a directory are looked at for the time of
	// their last change.
	maxLooked = 4096
	// removedPrefix begins the names of directories that are being removed.
	removedPrefix = ".removed-"
)

// keepsake is a directory that stays when its worker is gone: the worker's
// artifacts, or what its topology shared. It belongs to the worker's user.
type keepsake struct {
	topology, path string
	// holder begins the container ids of the workers of the topology that have it.
	holder string
}

// Cleanup removes the artifacts, and what topologies shared, of workers that are gone
// from this node, if nothing has changed there since before. It returns what it has
// removed. Without it a stranger who was the first to name a topology would keep its
// directories for ever. The end of a worker counts as a change.
func (b *Builder) Cleanup(ctx context.Context, before time.Time) (removed []string, err error) {
	all, err := b.keepsakes()
	errs := []error{err}
	for _, k := range all {
		if ctx.Err() != nil {
			break
		}
		gone, err := b.cleanup(k, before)
		if errs = append(errs, err); gone {
			removed = append(removed, k.path)
		}
	}
	return removed, errors.Join(errs...)
}

// keepsakes lists what is there, and finishes what an earlier Cleanup has begun.
func (b *Builder) keepsakes() (all []keepsake, err error) {
	node := b.options.Config().Node
	topologies, err := namesIn(node.ArtifactsDir)
	errs := []error{err}
	for _, t := range topologies {
		ports, err := namesIn(filepath.Join(node.ArtifactsDir, t))
		errs = append(errs, err)
		for _, port := range ports {
			all = append(all, keepsake{topology: t, path: filepath.Join(node.ArtifactsDir, t, port), holder: port + "-"})
		}
	}
	dist := filepath.Dir(filepath.Dir(ocispec.PathsOf(node, worker.Spec{TopologyID: "any"}).Shared))
	topologies, err = namesIn(dist)
	errs = append(errs, err)
	for _, t := range topologies {
		all = append(all, keepsake{topology: t, path: ocispec.PathsOf(node, worker.Spec{TopologyID: t}).Shared})
	}
	return all, errors.Join(errs...)
}

// namesIn lists a directory that is root's alone. One that is not, such as one that
// Storm's own supervisor made, has nothing that is stormcell's to remove.
func namesIn(path string) ([]string, error) {
	d, err := openTrusted(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, ErrUntrusted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	names, err := d.names(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, removedPrefix) {
			err = errors.Join(err, d.clear(name))
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !worker.ValidTopologyID(name) }), err
}

// cleanup removes a keepsake that is old and nobody's. It is moved out of the way
// first: launches must not wait until a million files are deleted.
func (b *Builder) cleanup(k keepsake, before time.Time) (removed bool, err error) {
	parent, err := openTrusted(filepath.Dir(k.path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUntrusted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer parent.close()
	name := filepath.Base(k.path)
	if moved, err := b.moveAway(parent, name, k, before); !moved || err != nil {
		return false, err
	}
	if err := parent.clear(removedPrefix + name); err != nil {
		return true, err
	}
	return true, b.removeUnused(parent.path, k.topology)
}

// removeUnused deletes the directory of a topology that has no worker, if it is empty.
func (b *Builder) removeUnused(path, topology string) error {
	b.shared.Lock()
	defer b.shared.Unlock()
	if marks, err := b.marksOf(topology); err != nil || len(marks) > 0 {
		return err
	}
	return removeEmpty(path)
}

// moveAway renames a keepsake, unless a worker has it or it has changed since before.
// Launches mark their worker under the same lock, before they make anything.
func (b *Builder) moveAway(parent *dir, name string, k keepsake, before time.Time) (moved bool, err error) {
	b.shared.Lock()
	defer b.shared.Unlock()
	marks, err := b.marksOf(k.topology)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(marks, func(id string) bool { return strings.HasPrefix(id, k.holder) }) {
		return false, nil
	}
	changed, err := parent.changed(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !changed.Before(before) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := unix.Renameat2(parent.fd(), name, parent.fd(), removedPrefix+name, unix.RENAME_NOREPLACE); err != nil {
		return false, fmt.Errorf("remove %s: %w", k.path, err)
	}
	return true, nil
}

// marksOf returns the container ids of the marked workers of a topology.
func (b *Builder) marksOf(topology string) ([]string, error) {
	d, err := b.openMarks(topology)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.names(-1)
}

// changed returns when the directory name in d, or a file directly in it, was changed
// last, as the kernel counts it (ctime): nobody can set that.
func (d *dir) changed(name string) (time.Time, error) {
	child, err := d.open(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return time.Time{}, fs.ErrNotExist // not made by a launch
	}
	if err != nil {
		return time.Time{}, err
	}
	defer child.close()
	var last time.Time
	note := func(st *unix.Stat_t) {
		if t := time.Unix(st.Ctim.Unix()); t.After(last) {
			last = t
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(child.fd(), &st); err != nil {
		return time.Time{}, fmt.Errorf("stat %s: %w", child.path, err)
	}
	note(&st)
	names, err := child.names(maxLooked)
	if err != nil {
		return time.Time{}, err
	}
	for _, n := range names {
		if unix.Fstatat(child.fd(), n, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			note(&st)
		}
	}
	return last, nil
}

// touch has the directory at path changed now. What is not there is no error.
func touch(path string) error {
	parent, err := openTrusted(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUntrusted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.close()
	d, err := parent.open(filepath.Base(path))
	if err != nil {
		return nil // nothing is kept there
	}
	defer d.close()
	now := unix.NsecToTimeval(time.Now().UnixNano())
	if err := unix.Futimes(d.fd(), []unix.Timeval{now, now}); err != nil {
		return fmt.Errorf("touch %s: %w", path, err)
	}
	return nil
}
