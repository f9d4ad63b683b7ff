package localizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

const (
	layersDir   = manifest.LayersDir
	configDir   = manifest.ConfigDir
	layerSuffix = ".sqsh"
)

// seal is the modification time of a file that was verified when it was
// written. Any write to the file breaks it.
var seal = time.Unix(1, 0)

func layerName(d digest.Digest) string  { return layersDir + "/" + d.Encoded() + layerSuffix }
func recallName(d digest.Digest) string { return layersDir + "/" + d.Encoded() + ".json" }
func configName(d digest.Digest) string { return configDir + "/" + d.Encoded() }

// cache is the directory of files, who holds them, and what is being written.
type cache struct {
	dir   string
	limit int64
	marks marks
	root  *os.Root // nil until open
	// evicted may be nil. See Options.Evicted.
	evicted  func(context.Context) error
	observer Observer
	ahead    ahead

	mu      sync.Mutex
	entries map[string]entry           // by name
	holds   map[string]map[string]bool // names by owner
	lost    []func()                   // to be called: files held ahead were evicted
}

func newCache(opts Options) *cache {
	return &cache{
		dir: opts.Dir, limit: opts.MaxBytes, marks: marks{opts.DiskHighPercent, opts.DiskLowPercent}, evicted: opts.Evicted, observer: opts.Observer,
		entries: map[string]entry{}, holds: map[string]map[string]bool{},
	}
}

func (c *cache) isOpen() bool { return c.root != nil }

// path is where a file lies, for those who open it by themselves.
func (c *cache) path(name string) string { return filepath.Join(c.dir, name) }

// condition is what a file of the cache looks like from outside.
type condition int

const (
	absent   condition = iota // or of another size, or not safe
	doubtful                  // of the right size, but its seal is broken
	whole
)

// inspect looks at a file that should have size bytes.
func (c *cache) inspect(name string, size int64) condition {
	fi, err := c.root.Lstat(name)
	switch {
	case err != nil, !fi.Mode().IsRegular(), fi.Size() != size, safe(fi) != nil:
		return absent
	case !fi.ModTime().Equal(seal):
		return doubtful
	}
	return whole
}

// read returns a small file, or an error if it is not whole.
func (c *cache) read(name string, limit int64) ([]byte, error) {
	fi, err := c.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit || c.inspect(name, fi.Size()) != whole {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrInvalid)
	}
	f, err := c.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// mend seals a file whose content was verified again.
func (c *cache) mend(name string) error { return c.root.Chtimes(name, time.Time{}, seal) }

// drop deletes a file that is not what its name says, whoever holds it. A
// mount of it keeps its content.
func (c *cache) drop(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropLocked(name)
}

func (c *cache) dropLocked(name string) error {
	if err := c.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("layer cache %s: %w", c.dir, err)
	}
	delete(c.entries, name)
	return nil
}

// hold keeps a file, there or to come, from being evicted.
func (c *cache) hold(owner, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[owner] == nil {
		c.holds[owner] = map[string]bool{}
	}
	c.holds[owner][name] = true
	if !c.ahead.has(owner) { // that is no use yet
		c.touchLocked(name)
	}
}

// held returns what owner holds.
func (c *cache) held(owner string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.holds[owner])
}

// restore makes owner hold what held returned before.
func (c *cache) restore(owner string, names map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(names) == 0 {
		delete(c.holds, owner)
		return
	}
	c.holds[owner] = names
}

// release ends all holds of owner, and makes use of that where there is too
// much.
func (c *cache) release(ctx context.Context, owner string) {
	c.mu.Lock()
	if !c.ahead.has(owner) {
		for name := range c.holds[owner] {
			c.touchLocked(name)
		}
	}
	delete(c.holds, owner)
	c.ahead.remove(owner)
	freed := c.trimLocked(true)
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	c.relieve(ctx)
}

// touchLocked notes a use, also for the next process: as the access time.
func (c *cache) touchLocked(name string) {
	e, ok := c.entries[name]
	if !ok {
		return
	}
	e.used = time.Now()
	c.entries[name] = e
	_ = c.root.Chtimes(name, e.used, time.Time{}) // only the order of eviction depends on it
}

// idle notes that a file is not being written any more.
func (c *cache) idle(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[name]; ok {
		c.entries[name] = entry{size: e.size, used: time.Now()}
	}
}

// renamed notes that a file has got its final name. What is too small to count
// is no entry from then on.
func (c *cache) renamed(from, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[from]
	delete(c.entries, from)
	if entryForm.MatchString(to) {
		c.entries[to] = entry{size: e.size, used: time.Now()}
	}
}

// safe checks that only this process's user, which is root, can write.
func safe(fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: it has mode %v and owner %d", ErrUntrusted, fi.Mode(), st.Uid)
	}
	return nil
}
