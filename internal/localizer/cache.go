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

	"github.com/stormcell/stormcell/internal/manifest"
)

const (
	layersDir  = manifest.LayersDir
	configDir  = manifest.ConfigDir
	tempPrefix = ".fetch-"
)

// seal is the modification time of a file that was verified when it was
// written. Any write to the file breaks it.
var seal = time.Unix(1, 0)

func layerName(d digest.Digest) string  { return layersDir + "/" + d.Encoded() + ".sqsh" }
func recallName(d digest.Digest) string { return layersDir + "/" + d.Encoded() + ".json" }
func configName(d digest.Digest) string { return configDir + "/" + d.Encoded() }

// cache is the directory of files, who holds them, and what is being written.
type cache struct {
	dir   string
	limit int64
	root  *os.Root // nil until open
	// evicted may be nil. See Options.Evicted.
	evicted func(context.Context) error
	// evictedAhead may be nil. See Options.EvictedAhead.
	evictedAhead func(owner string)
	ahead        ahead

	mu       sync.Mutex
	entries  map[string]entry           // by name
	holds    map[string]map[string]bool // names by owner
	reserved int64                      // bytes of files being written
	lost     []string                   // owners ahead to be told of an eviction
}

func newCache(opts Options) *cache {
	return &cache{
		dir: opts.Dir, limit: opts.MaxBytes, evicted: opts.Evicted, evictedAhead: opts.EvictedAhead,
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

// release ends all holds of owner, and deletes what is above the limit.
func (c *cache) release(owner string) {
	c.mu.Lock()
	if !c.ahead.has(owner) {
		for name := range c.holds[owner] {
			c.touchLocked(name)
		}
	}
	delete(c.holds, owner)
	c.ahead.remove(owner)
	freed := c.trimLocked(0, true)
	c.mu.Unlock()
	c.afterEviction(context.Background(), freed)
}

// trimLocked evicts what is above the limit when size more bytes come.
func (c *cache) trimLocked(size int64, alsoAhead bool) (freed int64) {
	if c.limit <= 0 || !c.isOpen() {
		return 0
	}
	return c.evictLocked(c.sizeLocked()+size-c.limit, alsoAhead)
}

// afterEviction has the space of deleted files freed, and tells the owners
// whose files were held ahead.
func (c *cache) afterEviction(ctx context.Context, freed int64) {
	c.mu.Lock()
	lost := c.lost
	c.lost = nil
	c.mu.Unlock()
	for _, owner := range lost {
		if c.evictedAhead != nil {
			c.evictedAhead(owner)
		}
	}
	if freed > 0 && c.evicted != nil {
		// What it could not free shows as a full disk, if it is needed.
		_ = c.evicted(ctx)
	}
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

// sizeLocked is the number of bytes of the cache, with what is being written.
func (c *cache) sizeLocked() int64 {
	n := c.reserved
	for _, e := range c.entries {
		n += e.size
	}
	return n
}

// evictLocked deletes files until need bytes are free or none is left, and
// returns how many it freed: those that nobody holds and then, with alsoAhead,
// those that are held ahead only.
func (c *cache) evictLocked(need int64, alsoAhead bool) (freed int64) {
	if need <= 0 {
		return 0
	}
	held, soft := c.heldLocked()
	freed = c.deleteLocked(victims(c.entries, func(n string) bool { return held[n] || soft[n] }, need))
	if alsoAhead && freed < need {
		chosen := victims(c.entries, func(n string) bool { return held[n] || !soft[n] }, need-freed)
		c.loseLocked(chosen)
		freed += c.deleteLocked(chosen)
	}
	return freed
}

// heldLocked returns the files that workers hold and those held ahead. A file
// may be both.
func (c *cache) heldLocked() (held, soft map[string]bool) {
	held, soft = map[string]bool{}, map[string]bool{}
	for owner, names := range c.holds {
		if c.ahead.has(owner) {
			maps.Copy(soft, names)
		} else {
			maps.Copy(held, names)
		}
	}
	return held, soft
}

// loseLocked ends the holds of the owners ahead whose files are deleted.
func (c *cache) loseLocked(names []string) {
	for _, name := range names {
		for owner, holds := range c.holds {
			if holds[name] && c.ahead.has(owner) {
				delete(c.holds, owner)
				c.ahead.evict(owner)
				c.lost = append(c.lost, owner)
			}
		}
	}
}

func (c *cache) deleteLocked(names []string) (freed int64) {
	for _, name := range names {
		size := c.entries[name].size
		if c.dropLocked(name) == nil {
			freed += size
		}
	}
	return freed
}

// evict is evictLocked for want of room on the disk.
func (c *cache) evict(ctx context.Context, need int64) (freed int64) {
	c.mu.Lock()
	freed = c.evictLocked(need, !isAhead(ctx))
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	return freed
}

// reserve takes size bytes of the limit.
func (c *cache) reserve(ctx context.Context, size int64) error {
	for {
		used, full := c.tryReserve(ctx, size)
		if !full {
			return nil
		}
		if c.ahead.giveWay(ctx) {
			continue
		}
		return fmt.Errorf("%w: %s may hold %d bytes, %d are in use and %d more are needed; raise stormcell.cache.max.bytes",
			ErrDiskFull, c.dir, c.limit, used, size)
	}
}

// tryReserve takes size bytes of the limit if they are there, and tells how
// many are used.
func (c *cache) tryReserve(ctx context.Context, size int64) (used int64, full bool) {
	c.mu.Lock()
	freed := c.trimLocked(size, !isAhead(ctx))
	used = c.sizeLocked()
	full = c.limit > 0 && used+size > c.limit
	if !full {
		c.reserved += size
	}
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	return used, full
}

func (c *cache) unreserve(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= size
}

// add notes a new file.
func (c *cache) add(name string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[name] = entry{size: size, used: time.Now()}
}

// safe checks that only this process's user, which is root, can write.
func safe(fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: it has mode %v and owner %d", ErrUntrusted, fi.Mode(), st.Uid)
	}
	return nil
}
