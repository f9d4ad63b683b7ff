package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/trust"
)

// dir is an open directory. Names are looked up in it and never followed: a
// worker may have put a link, a fifo or a directory at any name.
type dir struct {
	file *os.File
	path string // for messages
}

// owner is who a file is given to, and the bits of its mode.
type owner struct {
	uid, gid int
	mode     uint32
}

// makeTrusted opens the directory path, which the administrator chose and
// which may lie behind links; it makes what is missing of it. ErrUntrusted if
// others than root could change what lies in it.
func makeTrusted(path string, mode os.FileMode) (*dir, error) {
	above := path
	for !exists(above) {
		above = filepath.Dir(above)
	}
	// Else root would make directories wherever somebody's link leads.
	if err := trust.Place(above); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	return openTrusted(path)
}

// openTrusted opens a directory that is there. ErrUntrusted if others than root
// could change what lies in it.
func openTrusted(path string) (*dir, error) {
	err := trust.Directory(path)
	if errors.Is(err, trust.ErrNotTrusted) {
		err = fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return &dir{file: f, path: path}, nil
}

func (d *dir) fd() int { return int(d.file.Fd()) }

func (d *dir) close() { d.file.Close() }

// names lists d, or its first n names; all of them if n is -1.
func (d *dir) names(n int) ([]string, error) {
	names, err := d.file.Readdirnames(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	return names, nil
}

func (d *dir) join(name string) string { return filepath.Join(d.path, name) }

// open opens the directory name in d.
func (d *dir) open(name string) (*dir, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", d.join(name), err)
	}
	path := d.join(name)
	return &dir{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

// owned opens the directory name in d, which belongs to a worker's user; it is
// made if it is missing, put in the place of anything that is no directory,
// and given to o. One that belongs to somebody else is ErrForeignOwner.
func (d *dir) owned(name string, o owner) (*dir, error) {
	child, err := d.makeDir(name)
	if err != nil {
		return nil, err
	}
	if err := child.give(o); err != nil {
		child.close()
		return nil, err
	}
	return child, nil
}

func (d *dir) makeDir(name string) (*dir, error) {
	if err := unix.Mkdirat(d.fd(), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make directory %s: %w", d.join(name), err)
	}
	child, err := d.open(name)
	if err == nil || !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return child, err
	}
	// Planted. One more try is enough unless the user works against us, and
	// then an error is the right answer.
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return nil, fmt.Errorf("remove %s: %w", d.join(name), err)
	}
	if err := unix.Mkdirat(d.fd(), name, 0o700); err != nil {
		return nil, fmt.Errorf("make directory %s: %w", d.join(name), err)
	}
	return d.open(name)
}

// give sets owner and mode of the directory itself. Root's own is one that an
// earlier call made and did not come to give.
func (d *dir) give(o owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return fmt.Errorf("stat %s: %w", d.path, err)
	}
	if st.Uid != 0 && int(st.Uid) != o.uid {
		return fmt.Errorf("%w: %s has uid %d, not %d; remove it, or run the worker as its owner", ErrForeignOwner, d.path, st.Uid, o.uid)
	}
	if int(st.Uid) == o.uid && int(st.Gid) == o.gid && st.Mode&0o7777 == o.mode {
		return nil
	}
	if err := unix.Fchown(d.fd(), o.uid, o.gid); err != nil {
		return fmt.Errorf("chown %s: %w", d.path, err)
	}
	// After the owner: a change of owner clears the set-group-ID bit.
	if err := unix.Fchmod(d.fd(), o.mode); err != nil {
		return fmt.Errorf("chmod %s: %w", d.path, err)
	}
	return nil
}

// writeFile puts a file with this content at name, whole or not at all, in the
// place of anything that is there. It is not synced: every launch writes it
// anew, so nobody reads it after the machine went down.
func (d *dir) writeFile(name string, content []byte, o owner) error {
	temp := tempName(name)
	if err := d.clear(temp); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd(), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", d.join(temp), err)
	}
	f := os.NewFile(uintptr(fd), d.join(temp))
	_, err = f.Write(content)
	err = errors.Join(err, f.Chown(o.uid, o.gid), unix.Fchmod(fd, o.mode), f.Close())
	if err == nil {
		err = d.rename(temp, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", d.join(name), err), d.clear(temp))
	}
	return nil
}

// tempName is the name of a file until it is whole.
func tempName(name string) string { return "." + name + ".stormcell" }

func (d *dir) rename(from, to string) error {
	err := unix.Renameat(d.fd(), from, d.fd(), to)
	if errors.Is(err, unix.EISDIR) {
		if err := d.clear(to); err != nil {
			return err
		}
		err = unix.Renameat(d.fd(), from, d.fd(), to)
	}
	return err
}

// link puts a symbolic link to target at name.
func (d *dir) link(name, target string) error {
	buf := make([]byte, unix.PathMax)
	if n, err := unix.Readlinkat(d.fd(), name, buf); err == nil && string(buf[:n]) == target {
		return nil
	}
	if err := d.clear(name); err != nil {
		return err
	}
	if err := unix.Symlinkat(target, d.fd(), name); err != nil {
		return fmt.Errorf("link %s: %w", d.join(name), err)
	}
	return nil
}
