package localizer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// temp is a file being written, under a name that is not its own yet. Its
// bytes are set aside on the disk and in the cache's limit.
type temp struct {
	*os.File
	cache *cache
	name  string
	size  int64
	done  bool
}

// create begins a file of size bytes in folder dir. If the disk has no room,
// files that nobody holds are deleted, as few as will do.
func (c *cache) create(ctx context.Context, dir string, size int64) (*temp, error) {
	if err := c.reserve(ctx, size); err != nil {
		return nil, markAhead(ctx, err)
	}
	t := &temp{cache: c, name: path.Join(dir, tempPrefix+rand.Text()), size: size}
	for {
		err := t.allocate()
		if err == nil {
			return t, nil
		}
		if !noSpace(err) || c.evict(ctx, size) == 0 && !c.ahead.giveWay(ctx) {
			t.discard()
			return nil, markAhead(ctx, c.explain(err, size))
		}
	}
}

// allocate opens the file and takes its room on the disk at once: so two
// fetches cannot both count on the same free bytes.
func (t *temp) allocate() error {
	if t.File == nil {
		f, err := t.cache.root.OpenFile(t.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		t.File = f
	}
	err := unix.Fallocate(int(t.Fd()), 0, 0, t.size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a full disk then shows while writing
	}
	if err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	return nil
}

// publish gives the file its name, whole, sealed and synced.
func (t *temp) publish(name string) error {
	defer t.discard()
	root := t.cache.root
	err := errors.Join(t.Chmod(0o444), root.Chtimes(t.name, time.Now(), seal), t.Sync())
	if err != nil {
		return t.cache.explain(err, t.size)
	}
	if err := root.Rename(t.name, name); err != nil {
		return t.cache.explain(err, t.size)
	}
	t.done = true
	if entryForm.MatchString(name) {
		t.cache.add(name, t.size)
	}
	return t.cache.syncDir(path.Dir(name))
}

// discard deletes the file, unless it was published, and gives back its room.
// It can be repeated.
func (t *temp) discard() {
	if t.cache == nil {
		return
	}
	if t.File != nil {
		t.Close()
		if !t.done {
			// What cannot be deleted now is deleted by the next Recover.
			_ = t.cache.root.Remove(t.name)
		}
	}
	t.cache.unreserve(t.size)
	t.cache = nil
}

// write makes a small file at once.
func (c *cache) write(ctx context.Context, name string, content []byte) error {
	t, err := c.create(ctx, path.Dir(name), int64(len(content)))
	if err != nil {
		return err
	}
	defer t.discard()
	if _, err := t.Write(content); err != nil {
		return c.explain(err, t.size)
	}
	return t.publish(name)
}

func (c *cache) syncDir(dir string) error {
	d, err := c.root.Open(dir)
	if err != nil {
		return fmt.Errorf("layer cache %s: %w", c.dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("layer cache %s: sync: %w", c.dir, err)
	}
	return nil
}

func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// explain says of a full disk how much was needed, where, and what to do.
func (c *cache) explain(err error, size int64) error {
	if !noSpace(err) {
		return fmt.Errorf("layer cache %s: %w", c.dir, err)
	}
	free, _ := c.free()
	return fmt.Errorf("%w: %s needs %d bytes, its disk has %d free and nothing that is not in use can be deleted; "+
		"free some space, or set another storm.oci.resources.local.dir: %w", ErrDiskFull, c.dir, size, free, err)
}
