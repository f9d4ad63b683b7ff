// Package localdir is an image store in a directory of this machine, or of a
// network file system that is mounted on it (file:// URLs).
package localdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
)

// Names that the store keeps for itself: they are neither listed nor given out.
const (
	// uploadPrefix marks files that are still being written.
	uploadPrefix = ".upload-"
	lockName     = ".lock"
)

// Store is an image store below one directory. Names never lead out of it,
// whatever symbolic links it holds.
type Store struct {
	root string
}

var _ store.Writer = (*Store)(nil)

// New returns the store at root, an absolute path that need not exist yet.
func New(root string) *Store { return &Store{root: root} }

// URL implements store.Reader.
func (s *Store) URL() string { return store.Address{Scheme: "file", Path: s.root}.String() }

// dir opens the root directory; names are looked up below it only.
func (s *Store) dir(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		// No statement about a file in the store, so not fs.ErrNotExist.
		return nil, fmt.Errorf("%w: %s", store.ErrNoRoot, s.URL())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", store.ErrUnavailable, s.URL(), err)
	}
	return root, nil
}

// file checks the name of a file and opens the root directory.
func (s *Store) file(ctx context.Context, name string) (*os.Root, error) {
	base := path.Base(name)
	if !fs.ValidPath(name) || name == "." || name == lockName || strings.HasPrefix(base, uploadPrefix) {
		return nil, fmt.Errorf("store %s: %q: %w", s.URL(), name, fs.ErrInvalid)
	}
	return s.dir(ctx)
}

// away are the errors of a network file system whose server is not there.
var away = []error{syscall.ESTALE, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH}

// fault tells which store an error is about, and whether the store is away.
func (s *Store) fault(err error) error {
	if slices.ContainsFunc(away, func(a error) bool { return errors.Is(err, a) }) {
		return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, s.URL(), err)
	}
	return fmt.Errorf("store %s: %w", s.URL(), err)
}

// ReadFile implements store.Reader.
func (s *Store) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	f, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit = min(limit, math.MaxInt64-1)
	content, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, s.fault(fmt.Errorf("read %s: %w", name, err))
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("store %s: read %s: %w (%d bytes)", s.URL(), name, store.ErrTooLarge, limit)
	}
	return content, nil
}

// Stat implements store.Reader.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	root, err := s.file(ctx, name)
	if err != nil {
		return store.Info{}, err
	}
	defer root.Close()
	fi, err := root.Stat(name)
	if err != nil {
		return store.Info{}, s.fault(err)
	}
	if !fi.Mode().IsRegular() {
		return store.Info{}, fmt.Errorf("store %s: %s: %w", s.URL(), name, store.ErrNotFile)
	}
	return infoOf(fi), nil
}

func infoOf(fi fs.FileInfo) store.Info {
	return store.Info{Size: fi.Size(), ModTime: fi.ModTime(), Mode: fi.Mode().Perm()}
}

// Open implements store.Reader.
func (s *Store) Open(ctx context.Context, name string) (store.File, error) {
	root, err := s.file(ctx, name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// O_NONBLOCK: a fifo in the place of a file must not hang the caller.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, s.fault(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, store.ErrNotFile)
	}
	if err != nil {
		f.Close()
		return nil, s.fault(err)
	}
	return &file{ctx: ctx, file: f, size: fi.Size()}, nil
}

// file is an open file whose reads end with the context of its opening.
type file struct {
	ctx  context.Context //nolint:containedctx // Open's contract: reads stop when it ends
	file *os.File
	size int64
}

// Size implements store.File.
func (f *file) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, off)
}

// Close implements io.Closer.
func (f *file) Close() error { return f.file.Close() }

// Remove implements store.Writer.
func (s *Store) Remove(ctx context.Context, name string) error {
	root, err := s.file(ctx, name)
	if err != nil {
		return err
	}
	defer root.Close()
	fi, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.fault(err)
	}
	if fi.IsDir() {
		return fmt.Errorf("store %s: remove %s: %w", s.URL(), name, store.ErrNotFile)
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fault(err)
	}
	return nil
}

// List implements store.Writer.
func (s *Store) List(ctx context.Context, dir string) ([]store.Entry, error) {
	root, err := s.dir(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return nil, s.fault(err)
	}
	var files []store.Entry
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == lockName || strings.HasPrefix(e.Name(), uploadPrefix) {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, s.fault(err)
		}
		files = append(files, store.Entry{Name: e.Name(), Info: infoOf(fi)})
	}
	return files, nil
}

// Chmod implements store.Writer.
func (s *Store) Chmod(ctx context.Context, name string, mode fs.FileMode) error {
	root, err := s.file(ctx, name)
	if err != nil {
		return err
	}
	defer root.Close()
	fi, err := root.Lstat(name)
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("chmod %s: %w", name, store.ErrNotFile)
	}
	if err == nil {
		err = root.Chmod(name, mode.Perm())
	}
	if err != nil {
		return s.fault(err)
	}
	return nil
}
