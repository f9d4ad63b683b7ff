package localizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// partialLife is how long a half-fetched file is kept that nobody asks for.
const partialLife = 24 * time.Hour

// disk is what df tells of a file system, in bytes. What only root may use
// counts as neither.
type disk struct{ used, free int64 }

func diskOf(dir string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk{}, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return disk{
		used: int64(st.Blocks-st.Bfree) * st.Bsize, //nolint:gosec // no disk has 2^63 bytes
		free: int64(st.Bavail) * st.Bsize,          //nolint:gosec // no disk has 2^63 bytes
	}, nil
}

// marks are how full a disk may get, and how full it is made then, in percent.
type marks struct{ high, low int }

// excess is how many bytes have to go from a disk.
func (m marks) excess(d disk) int64 {
	percent := (d.used + d.free) / 100
	if m.high <= 0 || m.high >= 100 || d.used <= percent*int64(m.high) {
		return 0
	}
	return d.used - percent*int64(m.low)
}

// room is how many bytes a disk takes until it is too full.
func (m marks) room(d disk) int64 {
	if m.high <= 0 || m.high >= 100 {
		return d.free
	}
	return (d.used+d.free)/100*int64(m.high) - d.used
}

// sizeLocked is the number of bytes of the cache, with what is being written.
func (c *cache) sizeLocked() (n int64) {
	for _, e := range c.entries {
		n += e.size
	}
	return n
}

// reserve notes that a file of size bytes is being written, if the limit has
// room for it.
func (c *cache) reserve(ctx context.Context, name string, size int64) error {
	for {
		used, full := c.tryReserve(ctx, name, size)
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

// tryReserve notes the file if there is room, and tells how many bytes others
// use.
func (c *cache) tryReserve(ctx context.Context, name string, size int64) (used int64, full bool) {
	c.mu.Lock()
	before, there := c.entries[name]
	c.entries[name] = entry{size: size, used: time.Now(), busy: true}
	freed := c.trimLocked(!isAhead(ctx))
	used = c.sizeLocked() - size
	full = c.limit > 0 && used+size > c.limit
	if full {
		delete(c.entries, name)
		if there {
			c.entries[name] = before
		}
	}
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	return used, full
}

// trimLocked evicts what is above the limit.
func (c *cache) trimLocked(alsoAhead bool) (freed int64) {
	if c.limit <= 0 || !c.isOpen() {
		return 0
	}
	return c.evictLocked(c.sizeLocked()-c.limit, alsoAhead)
}

// relieve evicts if the disk is too full, but nothing that is held ahead: it
// would soon be fetched again.
func (c *cache) relieve(ctx context.Context) {
	if !c.isOpen() {
		return
	}
	// A disk that cannot be asked says so at the next fetch.
	d, err := diskOf(c.dir)
	if err != nil {
		return
	}
	c.mu.Lock()
	freed := c.evictLocked(c.marks.excess(d), false)
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
}

// makeRoom evicts so that the disk has size bytes free, and tells whether that
// has freed any.
func (c *cache) makeRoom(ctx context.Context, size int64) bool {
	d, err := diskOf(c.dir)
	if err != nil {
		return false
	}
	// The disk said that it is full, whatever it counts as free.
	return c.evict(ctx, max(1, size-d.free)) > 0 || c.ahead.giveWay(ctx)
}

// expire deletes half-fetched files that nobody has asked for in a long time.
func (c *cache) expire(ctx context.Context, now time.Time) {
	c.mu.Lock()
	var freed int64
	for name, e := range c.entries {
		if partialForm.MatchString(name) && !e.busy && now.Sub(e.used) > partialLife && c.dropLocked(name) == nil {
			freed += e.size
		}
	}
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
}

// evict is evictLocked for want of room on the disk.
func (c *cache) evict(ctx context.Context, need int64) (freed int64) {
	c.mu.Lock()
	freed = c.evictLocked(need, !isAhead(ctx))
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	return freed
}

// evictLocked deletes files until need bytes are free or none is left, and
// returns how many it freed: those that nobody holds or writes and then, with
// alsoAhead, those that are held ahead only.
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
// may be both. What has come of a file is held with it.
func (c *cache) heldLocked() (held, soft map[string]bool) {
	held, soft = map[string]bool{}, map[string]bool{}
	for owner, names := range c.holds {
		into := held
		if c.ahead.has(owner) {
			into = soft
		}
		for name := range names {
			into[name], into[partialOf(name)] = true, true
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
				c.lost = append(c.lost, c.ahead.evict(owner))
			}
		}
	}
}

func (c *cache) deleteLocked(names []string) (freed int64) {
	for _, name := range names {
		size := c.entries[name].size
		if c.dropLocked(name) == nil {
			freed += size
			c.observer.Evicted(size)
		}
	}
	return freed
}

// afterEviction has the space of deleted files freed, and tells the owners
// whose files were held ahead.
func (c *cache) afterEviction(ctx context.Context, freed int64) {
	c.mu.Lock()
	lost := c.lost
	c.lost = nil
	c.mu.Unlock()
	for _, evicted := range lost {
		evicted()
	}
	if freed > 0 && c.evicted != nil {
		// What it could not free shows as a full disk, if it is needed.
		_ = c.evicted(ctx)
	}
}

func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// explain says of a full disk how much was needed, where, and what to do.
func (c *cache) explain(err error, size int64) error {
	if !noSpace(err) {
		return fmt.Errorf("layer cache %s: %w", c.dir, err)
	}
	d, _ := diskOf(c.dir) // best effort: the message is about another error
	return fmt.Errorf("%w: %s needs %d bytes, its disk has %d free, and all files are in use; "+
		"free some space, or set another storm.oci.resources.local.dir: %w", ErrDiskFull, c.dir, size, d.free, err)
}
