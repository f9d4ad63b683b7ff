package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// A mark names a worker that has files on this node's disks: the file
//
//	<storm.local.dir>/stormcell/topologies/<topology id>/<container id>
//
// It is written before all else of the worker and removed after it, and it
// outlives a reboot, as the files do and records do not. So it is no leak that
// an agent dies at any moment, or that its records are lost. Its name says all
// that is needed to find the files: the content of a file that was not synced
// is lost with the machine, its name is not. The directory is root's alone.
//
// The content is the run root of the agent that made it. An agent leaves alone
// what lives in another run root, as after a change of the configuration.

// marksPath is where marks are, below storm.local.dir.
var marksPath = []string{"stormcell", "topologies"}

// maxMark is how much of a mark is read, in bytes.
const maxMark = unix.PathMax

// makeMarks opens the directory of a topology's marks, and makes it.
func (b *Builder) makeMarks(topologyID string) (*dir, error) {
	d, err := makeTrusted(b.options.Config().Node.LocalDir, 0o755)
	if err != nil {
		return nil, err
	}
	for _, name := range append(slices.Clone(marksPath), topologyID) {
		child, err := d.owned(name, owner{mode: 0o700})
		d.close()
		if err != nil {
			return nil, err
		}
		d = child
	}
	return d, nil
}

// openMarks opens a directory of marks, or that of all topologies.
// fs.ErrNotExist if there is none.
func (b *Builder) openMarks(names ...string) (*dir, error) {
	path := append([]string{b.options.Config().Node.LocalDir}, marksPath...)
	return openTrusted(filepath.Join(append(path, names...)...))
}

// isMarked tells whether files are made for w, or were about to be.
func (b *Builder) isMarked(w worker.Spec) (bool, error) {
	d, err := b.openMarks(w.TopologyID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the mark of worker %s: %w", w.ContainerID(), err)
	}
	defer d.close()
	var st unix.Stat_t
	err = unix.Fstatat(d.fd(), w.ContainerID(), &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for the mark of worker %s: %w", w.ContainerID(), err)
	}
	return err == nil, nil
}

// mark marks w. The lock of what is shared is held.
func (b *Builder) mark(w worker.Spec) error {
	d, err := b.makeMarks(w.TopologyID)
	if err != nil {
		return fmt.Errorf("mark worker: %w", err)
	}
	defer d.close()
	if d.readMark(w.ContainerID()) == b.options.Config().Node.RunRoot {
		return nil
	}
	return d.writeMark(w.ContainerID(), b.options.Config().Node.RunRoot)
}

// writeMark writes in place: half a mark marks as well, and a temporary name
// could be left behind.
func (d *dir) writeMark(name, content string) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("mark worker: %s: %w", d.join(name), err)
	}
	f := os.NewFile(uintptr(fd), d.join(name))
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("mark worker: %w", err)
	}
	return nil
}

// readMark returns the content of a mark; empty if it has none, or is none.
func (d *dir) readMark(name string) string {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), d.join(name))
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return ""
	}
	return string(content)
}

// unmark takes back w's mark. The last worker of its topology has the
// directories deleted that it shared, if they are empty; data in them may be
// wanted by the next worker and stays. The lock of what is shared is held.
func (b *Builder) unmark(w worker.Spec, shared ...string) error {
	marks, err := b.openMarks(w.TopologyID)
	if errors.Is(err, fs.ErrNotExist) {
		return removeEmpty(shared...)
	}
	if err != nil {
		return fmt.Errorf("unmark worker: %w", err)
	}
	defer marks.close()
	others, err := marks.othersThan(w)
	if err != nil {
		return err
	}
	if !others {
		if err := removeEmpty(shared...); err != nil {
			return err
		}
	}
	if err := marks.clear(w.ContainerID()); err != nil {
		return err
	}
	return removeEmpty(marks.path)
}

// othersThan tells whether other workers than w are marked in a topology's marks.
func (d *dir) othersThan(w worker.Spec) (bool, error) {
	names, err := d.names(-1)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n string) bool { return n != w.ContainerID() }), nil
}

// removeEmpty deletes directories, one after the other, up to one that is not
// empty.
func removeEmpty(paths ...string) error {
	for _, path := range paths {
		err := unix.Rmdir(path)
		switch {
		case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR):
			return nil
		case err != nil && !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

// marked returns the topologies of each container that is marked; of two, if
// one of them is of another life of its id.
func (b *Builder) marked() (map[string][]string, error) {
	all, err := b.openMarks()
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer all.close()
	topologies, err := all.names(-1)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, topology := range topologies {
		if !worker.ValidTopologyID(topology) {
			continue
		}
		marks, err := b.openMarks(topology)
		if err != nil {
			return nil, err
		}
		names, err := marks.names(-1)
		for _, id := range names {
			if worker.ValidContainerID(id) && b.ours(marks, id) {
				found[id] = append(found[id], topology)
			}
		}
		marks.close()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ours tells whether a mark is of this agent's run root, or of one that has
// nothing of its worker, as after a reboot.
func (b *Builder) ours(marks *dir, id string) bool {
	root := marks.readMark(id)
	return root == b.options.Config().Node.RunRoot || !filepath.IsAbs(root) || !exists(filepath.Join(root, "workers", id))
}

// Recover marks the workers that are known, if they are not, and returns the
// container ids of those that are marked and not known: an earlier agent has
// left their files, and Sweep removes them.
func (b *Builder) Recover(_ context.Context, known []worker.Spec) (left []string, err error) {
	b.shared.Lock()
	defer b.shared.Unlock()
	marked, err := b.marked()
	if err != nil {
		return nil, fmt.Errorf("look for files of workers: %w", err)
	}
	var errs []error
	for _, w := range known {
		if !slices.Contains(marked[w.ContainerID()], w.TopologyID) {
			errs = append(errs, b.mark(w))
		}
		delete(marked, w.ContainerID())
	}
	for id := range marked {
		left = append(left, id)
	}
	slices.Sort(left)
	return left, errors.Join(errs...)
}

// Sweep is Remove for a worker of which only the container's id is known. Files
// without a mark are not stormcell's, and stay.
func (b *Builder) Sweep(ctx context.Context, id string) error {
	w, err := worker.ParseContainerID(id)
	if err != nil {
		return err
	}
	b.shared.Lock()
	marked, err := b.marked()
	b.shared.Unlock()
	if err != nil {
		return fmt.Errorf("look for files of worker %s: %w", id, err)
	}
	for _, topology := range marked[id] {
		w.TopologyID = topology
		if err := b.removeFiles(ctx, w); err != nil {
			return err
		}
	}
	return remove(filepath.Join(b.workerDir(w), "bundle"))
}
