package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// maxDepth is how many directories are open at once while a tree is
	// deleted. Deeper ones are moved up first: a worker can nest them deeper
	// than any stack or limit on open files.
	maxDepth = 64
	// batch is how many names are read at a time.
	batch = 1024
)

// clear deletes what is at name, also a whole directory. It follows no link
// and enters no mount. What is not there is no error.
func (d *dir) clear(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("remove %s: %w", d.join(name), err)
	}
	top, err := d.enter(name)
	if err != nil {
		return err
	}
	defer top.close()
	if err := (&removal{top: top}).empty(top, 1); err != nil {
		return err
	}
	return d.rmdir(name)
}

// enter opens a directory that is to be emptied, unless it is a mount point.
func (d *dir) enter(name string) (*dir, error) {
	fd, err := unix.Openat2(d.fd(), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.EXDEV) {
		err = fmt.Errorf("%w (%w); unmount it", ErrMounted, err)
	}
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", d.join(name), err)
	}
	path := d.join(name)
	return &dir{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

func (d *dir) rmdir(name string) error {
	if err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", d.join(name), err)
	}
	return nil
}

// removal is the deletion of one tree.
type removal struct {
	top   *dir
	moved int
}

// empty deletes everything in d. Every round deletes or moves each name that
// it reads, so the last one reads none.
func (r *removal) empty(d *dir, depth int) error {
	for {
		if _, err := d.file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read directory %s: %w", d.path, err)
		}
		names, err := d.file.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
		for _, name := range names {
			if err := r.remove(d, name, depth); err != nil {
				return err
			}
		}
	}
}

func (r *removal) remove(d *dir, name string, depth int) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("remove %s: %w", d.join(name), err)
	case depth >= maxDepth:
		return r.moveUp(d, name)
	}
	child, err := d.enter(name)
	if err != nil {
		return err
	}
	defer child.close()
	if err := r.empty(child, depth+1); err != nil {
		return err
	}
	return d.rmdir(name)
}

// moveUp moves the directory name to the top of the tree, where the top's own
// loop comes upon it.
func (r *removal) moveUp(d *dir, name string) error {
	for {
		r.moved++
		err := unix.Renameat2(d.fd(), name, r.top.fd(), ".deep-"+strconv.Itoa(r.moved), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			if err != nil {
				return fmt.Errorf("move %s up: %w", d.join(name), err)
			}
			return nil
		}
	}
}
