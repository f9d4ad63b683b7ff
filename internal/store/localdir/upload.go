package localdir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
)

const defaultMode fs.FileMode = 0o444

// Create implements store.Writer. What uploads of the same name have left
// that were killed is removed first.
func (s *Store) Create(ctx context.Context, name string, opts store.CreateOptions) (_ store.Upload, retErr error) {
	root, err := s.file(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			root.Close()
		}
	}()
	prefix := path.Join(path.Dir(name), uploadPrefix+path.Base(name)+".")
	if err := sweep(root, prefix); err != nil {
		return nil, s.fault(fmt.Errorf("create %s: %w (has the store been bootstrapped?)", name, err))
	}
	temp, f, err := createTemp(ctx, root, prefix)
	if err != nil {
		return nil, s.fault(err)
	}
	mode := opts.Mode
	if mode == 0 {
		mode = defaultMode
	}
	return &upload{ctx: ctx, store: s, root: root, file: f, temp: temp, name: name, mode: mode}, nil
}

// createTemp makes a file whose name begins with prefix and locks it for as
// long as it is open, by which sweep knows that its writer lives.
func createTemp(ctx context.Context, root *os.Root, prefix string) (name string, _ *os.File, _ error) {
	for {
		name = prefix + rand.Text()
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", nil, err
		}
		// Another process may have swept the file before it was locked.
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			_, err = root.Lstat(name)
		}
		if err == nil {
			return name, f, nil
		}
		f.Close()
		_ = root.Remove(name)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return "", nil, err
		}
	}
}

// sweep removes the files whose names begin with prefix and that no living
// process is writing: the kernel drops the lock of one that dies.
func sweep(root *os.Root, prefix string) error {
	dir, base := path.Split(prefix)
	entries, err := fs.ReadDir(root.FS(), path.Clean(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || !e.Type().IsRegular() {
			continue
		}
		name := dir + e.Name()
		f, err := root.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			continue // it is gone, or another user's
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = root.Remove(name)
		}
		f.Close()
	}
	return nil
}

// upload is a file on its way: written under a temporary name beside its own.
type upload struct {
	ctx        context.Context //nolint:containedctx // writes stop when the upload's caller gives up
	store      *Store
	root       *os.Root
	file       *os.File
	temp, name string
	mode       fs.FileMode
	// failed is the first error of a Write; such a file is never published.
	failed error
	done   bool
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (int, error) {
	if u.failed == nil {
		u.failed = u.ctx.Err()
	}
	if u.failed != nil {
		return 0, u.failed
	}
	n, err := u.file.Write(p)
	if err != nil {
		u.failed = u.store.fault(fmt.Errorf("write %s: %w", u.name, err))
	}
	return n, u.failed
}

// Commit implements store.Upload.
func (u *upload) Commit() error {
	defer u.Abort()
	if u.failed != nil {
		return u.failed
	}
	if u.done {
		return fmt.Errorf("write %s: %w", u.name, fs.ErrClosed)
	}
	err := errors.Join(u.file.Chmod(u.mode), u.file.Sync())
	if err == nil {
		// Before the close, which would drop the lock and let sweep take it.
		err = u.root.Rename(u.temp, u.name)
	}
	if err != nil {
		return u.store.fault(fmt.Errorf("write %s: %w", u.name, err))
	}
	u.done = true
	return syncDir(u.root, path.Dir(u.name))
}

// Abort implements store.Upload.
func (u *upload) Abort() {
	if !u.done {
		_ = u.root.Remove(u.temp)
		u.done = true
	}
	u.file.Close()
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
