package localizer

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	c.mu.Lock()
	before, there := c.entries[name]
	c.entries[name] = entry{size: size, used: time.Now(), busy: true}
	freed := c.trimLocked()
	used := c.sizeLocked() - size
	full := c.limit > 0 && used+size > c.limit
	if full {
		delete(c.entries, name)
		if there {
			c.entries[name] = before
		}
	}
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	if full {
		return fmt.Errorf("%w: %s may hold %d bytes, %d are in use and %d more are needed; raise stormcell.cache.max.bytes",
			ErrDiskFull, c.dir, c.limit, used, size)
	}
	return nil
}

// trimLocked evicts what is above the limit.
func (c *cache) trimLocked() (freed int64) {
	if c.limit <= 0 || !c.isOpen() {
		return 0
	}
	return c.evictLocked(c.sizeLocked() - c.limit)
}

// relieve evicts if the disk is too full.
func (c *cache) relieve(ctx context.Context) {
	if !c.isOpen() {
		return
	}
	// A disk that cannot be asked says so at the next fetch.
	if d, err := diskOf(c.dir); err == nil {
		c.evict(ctx, c.marks.excess(d))
	}
}

// makeRoom evicts so that the disk has size bytes free, and returns how many
// bytes it has freed; none if nothing can be evicted.
func (c *cache) makeRoom(ctx context.Context, size int64) (freed int64) {
	d, err := diskOf(c.dir)
	if err != nil {
		return 0
	}
	// The disk said that it is full, whatever it counts as free.
	return c.evict(ctx, max(1, size-d.free))
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

// evict deletes files that nobody holds or writes, until need bytes are free or
// none is left, and returns how many bytes it freed.
func (c *cache) evict(ctx context.Context, need int64) (freed int64) {
	c.mu.Lock()
	freed = c.evictLocked(need)
	c.mu.Unlock()
	c.afterEviction(ctx, freed)
	return freed
}

func (c *cache) evictLocked(need int64) (freed int64) {
	if need <= 0 {
		return 0
	}
	held := map[string]bool{}
	for _, names := range c.holds {
		maps.Copy(held, names)
	}
	// What has come of a file is held with it.
	isHeld := func(name string) bool { return held[name] || held[finalName(name)] }
	for _, name := range victims(c.entries, isHeld, need) {
		size := c.entries[name].size
		if c.dropLocked(name) == nil {
			freed += size
		}
	}
	return freed
}

// afterEviction has the space of deleted files freed.
func (c *cache) afterEviction(ctx context.Context, freed int64) {
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
	return fmt.Errorf("%w: %s needs %d bytes, its disk has %d free and nothing that is not in use can be deleted; "+
		"free some space, or set another storm.oci.resources.local.dir: %w", ErrDiskFull, c.dir, size, d.free, err)
}
