package localdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// dirMode is that of the original's folders and of its first tag file.
const dirMode fs.FileMode = 0o755

// Bootstrap implements store.Writer.
func (s *Store) Bootstrap(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.makeRoot(); err != nil {
		return fmt.Errorf("make store %s: %w", s.URL(), err)
	}
	root, err := s.dir(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{manifest.LayersDir, manifest.ConfigDir, manifest.ManifestsDir, manifest.UnreferencedDir} {
		if err := makeDir(dir, root.Mkdir, root.Chmod, root.Stat); err != nil {
			return fmt.Errorf("make store %s: %w", s.URL(), err)
		}
	}
	if err := syncDir(root, "."); err != nil {
		return fmt.Errorf("make store %s: %w", s.URL(), err)
	}
	if _, err := s.Stat(ctx, manifest.TagFile); err == nil {
		return nil
	}
	err = s.Replace(ctx, manifest.TagFile, nil, nil, store.CreateOptions{Mode: dirMode})
	if errors.Is(err, store.ErrChanged) {
		return nil // another process has just made it
	}
	return err
}

func (s *Store) makeRoot() error {
	if err := os.MkdirAll(filepath.Dir(s.root), dirMode); err != nil {
		return err
	}
	return makeDir(s.root, os.Mkdir, os.Chmod, os.Stat)
}

// makeDir makes one directory, readable by all whatever our umask is, or
// leaves the one that is there as it is.
func makeDir(name string, mkdir, chmod func(string, fs.FileMode) error, stat func(string) (fs.FileInfo, error)) error {
	err := mkdir(name, dirMode)
	if err == nil {
		return chmod(name, dirMode)
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := stat(name)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is not a directory", name)
	}
	return err
}

// Replace implements store.Writer. Writers exclude each other by a lock
// file; the kernel drops the lock of a writer that dies.
func (s *Store) Replace(ctx context.Context, name string, old, content []byte, opts store.CreateOptions) error {
	root, err := s.file(ctx, name)
	if err != nil {
		return err
	}
	defer root.Close()
	unlock, err := lock(ctx, root)
	if err != nil {
		return s.fault(fmt.Errorf("lock the store: %w", err))
	}
	defer unlock()
	// A longer file has changed, so there is no need to read on.
	current, err := s.ReadFile(ctx, name, int64(len(old)))
	switch {
	case errors.Is(err, fs.ErrNotExist) && old == nil:
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrTooLarge),
		err == nil && (old == nil || !bytes.Equal(current, old)):
		return fmt.Errorf("store %s: %s: %w", s.URL(), name, store.ErrChanged)
	case err != nil:
		return err
	}
	up, err := s.Create(ctx, name, opts)
	if err != nil {
		return err
	}
	defer up.Abort()
	if _, err := up.Write(content); err != nil {
		return err
	}
	return up.Commit()
}

// lock takes the store's lock, unless ctx ends before its owner lets go.
func lock(ctx context.Context, root *os.Root) (unlock func(), _ error) {
	f, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, &fs.PathError{Op: "flock", Path: lockName, Err: err}
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// flock cannot be interrupted: let go as soon as it has the lock.
		go func() {
			<-locked //nolint:errcheck // it lets go either way
			f.Close()
		}()
		return nil, ctx.Err()
	}
}
