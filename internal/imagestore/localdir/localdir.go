// Package localdir is an image store in a directory of this machine, or of a
// network file system that is mounted on it (file:// URLs).
package localdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/manifest"
)

const (
	dirMode     fs.FileMode = 0o755
	defaultMode fs.FileMode = 0o444
	// uploadPrefix marks files that are still being written.
	uploadPrefix = ".upload-"
	lockName     = ".lock"
)

// Store is an image store below one directory. Names never lead out of it,
// whatever symbolic links it holds.
type Store struct {
	root string
}

var _ imagestore.Writer = (*Store)(nil)

// New returns the store at root, an absolute path that need not exist yet.
func New(root string) *Store { return &Store{root: root} }

// URL implements imagestore.Reader.
func (s *Store) URL() string { return "file://" + s.root }

// dir opens the root directory; names are looked up below it only.
func (s *Store) dir(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", imagestore.ErrUnavailable, s.URL(), unwrapPath(err))
	}
	return root, nil
}

// unwrapPath keeps the errno of an error and drops fs.ErrNotExist from its
// chain for a missing root, which is no statement about a file in the store.
func unwrapPath(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the directory does not exist")
	}
	return err
}

// ReadFile implements imagestore.Reader.
func (s *Store) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	f, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("read %s: %w (%d bytes)", name, imagestore.ErrTooLarge, limit)
	}
	return content, nil
}

// Stat implements imagestore.Reader.
func (s *Store) Stat(ctx context.Context, name string) (imagestore.Info, error) {
	root, err := s.dir(ctx)
	if err != nil {
		return imagestore.Info{}, err
	}
	defer root.Close()
	fi, err := root.Stat(name)
	if err != nil {
		return imagestore.Info{}, fmt.Errorf("store %s: %w", s.URL(), err)
	}
	return imagestore.Info{Size: fi.Size(), ModTime: fi.ModTime(), Mode: fi.Mode().Perm()}, nil
}

// Open implements imagestore.Reader.
func (s *Store) Open(ctx context.Context, name string) (imagestore.File, error) {
	root, err := s.dir(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// O_NONBLOCK: a fifo in the place of a file must not hang the caller.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.URL(), err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("store %s: %w", s.URL(), err)
	}
	return &file{ctx: ctx, File: f, size: fi.Size()}, nil
}

// file is an open file whose reads end with the context of its opening.
type file struct {
	*os.File
	ctx  context.Context //nolint:containedctx // Open's contract: reads stop when it ends
	size int64
}

func (f *file) Size() int64 { return f.size }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// Bootstrap implements imagestore.Writer.
func (s *Store) Bootstrap(ctx context.Context) error {
	if err := os.MkdirAll(s.root, dirMode); err != nil {
		return fmt.Errorf("make store %s: %w", s.URL(), err)
	}
	root, err := s.dir(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{manifest.LayersDir, manifest.ConfigDir, manifest.ManifestsDir, manifest.UnreferencedDir} {
		if err := root.MkdirAll(dir, dirMode); err != nil {
			return fmt.Errorf("make store %s: %w", s.URL(), err)
		}
	}
	err = s.Replace(ctx, manifest.TagFile, nil, nil, imagestore.CreateOptions{Mode: dirMode})
	if errors.Is(err, imagestore.ErrChanged) {
		return nil // it is there
	}
	return err
}

// Create implements imagestore.Writer.
func (s *Store) Create(ctx context.Context, name string, opts imagestore.CreateOptions) (imagestore.Upload, error) {
	root, err := s.dir(ctx)
	if err != nil {
		return nil, err
	}
	if !fs.ValidPath(name) {
		root.Close()
		return nil, fmt.Errorf("store %s: create %q: %w", s.URL(), name, fs.ErrInvalid)
	}
	mode := opts.Mode
	if mode == 0 {
		mode = defaultMode
	}
	temp := path.Join(path.Dir(name), fmt.Sprintf("%s%s.%d", uploadPrefix, path.Base(name), os.Getpid()))
	_ = root.Remove(temp) // of a process with our id that was killed
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("store %s: %w", s.URL(), err)
	}
	return &upload{ctx: ctx, root: root, File: f, temp: temp, name: name, mode: mode}, nil
}

// upload is a file on its way: written under a temporary name beside its own.
type upload struct {
	*os.File
	ctx        context.Context //nolint:containedctx // writes stop when the upload's caller gives up
	root       *os.Root
	temp, name string
	mode       fs.FileMode
	done       bool
}

func (u *upload) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.File.Write(p)
}

func (u *upload) Commit() error {
	defer u.Abort()
	err := errors.Join(u.File.Chmod(u.mode), u.File.Sync(), u.File.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", u.name, err)
	}
	if err := u.root.Rename(u.temp, u.name); err != nil {
		return fmt.Errorf("write %s: %w", u.name, err)
	}
	u.done = true
	return syncDir(u.root, path.Dir(u.name))
}

func (u *upload) Abort() {
	u.File.Close()
	if !u.done {
		_ = u.root.Remove(u.temp)
		u.done = true
	}
	u.root.Close()
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// Replace implements imagestore.Writer. Writers on one machine exclude each
// other by a lock file; the kernel drops the lock of a writer that dies.
func (s *Store) Replace(ctx context.Context, name string, old, content []byte, opts imagestore.CreateOptions) error {
	root, err := s.dir(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	lock, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("lock store %s: %w", s.URL(), err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock store %s: %w", s.URL(), err)
	}
	current, err := root.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && old == nil:
	case errors.Is(err, fs.ErrNotExist), err == nil && (old == nil || !bytes.Equal(current, old)):
		return fmt.Errorf("store %s: %s: %w", s.URL(), name, imagestore.ErrChanged)
	case err != nil:
		return fmt.Errorf("store %s: %w", s.URL(), err)
	}
	up, err := s.Create(ctx, name, opts)
	if err != nil {
		return err
	}
	defer up.Abort()
	if _, err := up.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return up.Commit()
}

// Remove implements imagestore.Writer.
func (s *Store) Remove(ctx context.Context, name string) error {
	root, err := s.dir(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store %s: %w", s.URL(), err)
	}
	return nil
}

// List implements imagestore.Writer.
func (s *Store) List(ctx context.Context, dir string) ([]string, error) {
	root, err := s.dir(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.URL(), err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), uploadPrefix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
