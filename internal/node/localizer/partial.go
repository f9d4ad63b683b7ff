package localizer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// tempPrefix marks files that are not whole.
const tempPrefix = ".fetch-"

// partialForm is the name of a file that a later try goes on with.
var partialForm = regexp.MustCompile(`^layers/\.fetch-[0-9a-f]{64}$`)

// partialName is where a layer is written until it is whole. Whoever fetches
// the same layer later finds there what has come already.
func partialName(d digest.Digest) string { return partialOf(layerName(d)) }

// partialOf is what the layer's file of that name is called until it is whole.
func partialOf(name string) string {
	return layersDir + "/" + tempPrefix + strings.TrimSuffix(path.Base(name), layerSuffix)
}

// freshName is a name for a file that no later try can go on with.
func freshName(dir string) string { return dir + "/" + tempPrefix + rand.Text() }

// partial is a file being written, under a name that is not its own yet. It is
// an entry of the cache, so its room counts, and a busy one, so nobody evicts it.
type partial struct {
	*os.File
	cache *cache
	name  string
	size  int64
	// resumed tells that an earlier try may have left something in it.
	resumed bool
	// settled is true once the file was published or dropped.
	settled bool
}

// begin opens the file name, with what an earlier try has left in it, and sets
// size bytes aside for it on the disk and in the cache's limit. If there is no
// room, files that nobody holds are deleted, as few as will do.
func (c *cache) begin(ctx context.Context, name string, size int64) (*partial, error) {
	if err := c.reserve(ctx, name, size); err != nil {
		return nil, markAhead(ctx, err)
	}
	p := &partial{cache: c, name: name, size: size}
	if err := p.open(ctx); err != nil {
		err = c.explain(err, size)
		p.drop()
		p.leave()
		return nil, markAhead(ctx, err)
	}
	return p, nil
}

func (p *partial) open(ctx context.Context) (err error) {
	root := p.cache.root
	if fi, err := root.Lstat(p.name); err == nil && fi.Mode().IsRegular() && fi.Size() == p.size && safe(fi) == nil {
		p.resumed = true
		// It may have been about to be published.
		if err := root.Chmod(p.name, 0o600); err != nil {
			return err
		}
		// Its room is not set aside again: on tmpfs, what was not written
		// would look written afterwards.
		p.File, err = root.OpenFile(p.name, os.O_RDWR, 0)
		return err
	}
	if err := root.Remove(p.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.File, err = root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	return p.allocate(ctx)
}

// allocate takes the file's room on the disk at once: so two fetches cannot
// both count on the same free bytes.
func (p *partial) allocate(ctx context.Context) error {
	for {
		err := allocate(p.File, p.size)
		if !noSpace(err) {
			return err
		}
		// What it got of too little is not to count as used.
		if err := p.Truncate(0); err != nil {
			return err
		}
		if !p.cache.makeRoom(ctx, p.size) {
			return err
		}
	}
}

func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR): // tmpfs gives up at a signal, and the Go runtime sends some
		case errors.Is(err, unix.EOPNOTSUPP):
			return f.Truncate(size) // a full disk then shows while writing
		case err != nil:
			return fmt.Errorf("allocate: %w", err)
		default:
			return nil
		}
	}
}

// put writes b at off, and has the disk begin with it, so that little is left
// for the sync at the end.
func (p *partial) put(ctx context.Context, b []byte, off int64) error {
	for {
		_, err := p.WriteAt(b, off)
		if err == nil {
			break
		}
		if !noSpace(err) || !p.cache.makeRoom(ctx, int64(len(b))) {
			return markAhead(ctx, p.cache.explain(err, p.size))
		}
	}
	// Where this is not possible, the sync at the end does it all.
	_ = unix.SyncFileRange(int(p.Fd()), off, int64(len(b)), unix.SYNC_FILE_RANGE_WRITE)
	return nil
}

// written returns the end of what is written without a gap from off on. The
// room that was set aside reads as a hole until it is written.
func (p *partial) written(off int64) int64 {
	if !p.resumed {
		return off
	}
	hole, err := unix.Seek(int(p.Fd()), off, unix.SEEK_HOLE)
	if err != nil {
		return off // a file system that cannot tell
	}
	return hole
}

// publish gives the file its name, whole, sealed and synced. One that fails to
// is dropped: after a failed sync, what is in memory may not be on the disk.
func (p *partial) publish(name string) error {
	root := p.cache.root
	err := errors.Join(p.Chmod(0o444), root.Chtimes(p.name, time.Now(), seal), p.Sync())
	if err == nil {
		err = root.Rename(p.name, name)
	}
	if err != nil {
		err = p.cache.explain(err, p.size)
		p.drop()
		return err
	}
	p.settled = true
	p.cache.renamed(p.name, name)
	return p.cache.syncDir(path.Dir(name))
}

// drop deletes the file: what is in it is of no use.
func (p *partial) drop() {
	p.settled = true
	// What cannot be deleted now is deleted by the next Recover, or found
	// wrong again.
	_ = p.cache.drop(p.name)
}

// leave ends the writing. A file that was not published stays for the next
// try, if there is anything in it and a next try can know of it.
func (p *partial) leave() {
	if !p.settled && (!partialForm.MatchString(p.name) || !p.begun()) {
		p.drop()
	}
	if p.File != nil {
		p.Close()
	}
	p.cache.idle(p.name)
}

// begun tells whether anything is written.
func (p *partial) begun() bool {
	_, err := unix.Seek(int(p.Fd()), 0, unix.SEEK_DATA)
	return !errors.Is(err, unix.ENXIO)
}

// write makes a small file at once.
func (c *cache) write(ctx context.Context, name string, content []byte) error {
	p, err := c.begin(ctx, freshName(path.Dir(name)), int64(len(content)))
	if err != nil {
		return err
	}
	defer p.leave()
	if err := p.put(ctx, content, 0); err != nil {
		return err
	}
	return p.publish(name)
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
