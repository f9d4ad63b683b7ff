package localizer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// ErrEvicted is an image that was prefetched and evicted for a worker.
var ErrEvicted = errors.New("evicted for a worker that needed the space")

// errNoRoomAhead marks an ErrDiskFull of a fetch ahead of time: a worker may
// make room where such a fetch may not.
var errNoRoomAhead = errors.New("prefetching takes no space from images in use")

// LocalizeAhead brings an image as Localize does, but before a worker needs
// it: one file after the other, and only if all of it fits into the room that
// is free or that nobody holds. Its hold is soft. When a worker needs room,
// files that nobody holds are deleted first, and then those held ahead, the
// least recently used first: the owner then holds nothing any more, and evicted
// is called, also after LocalizeAhead has returned, until the owner's next call
// or its Release. evicted must not block. Errors are those of Localize and, if a
// worker needed the room meanwhile, ErrEvicted. Calls for one owner, and its
// Release, must not overlap.
func (l *Localizer) LocalizeAhead(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64), evicted func()) error {
	if !l.cache.isOpen() {
		return fmt.Errorf("localize image %s: %w", image.Tag, ErrNotRecovered)
	}
	if err := l.cache.roomAhead(l.missing(image)); err != nil {
		return fmt.Errorf("localize image %s: %w", image.Tag, err)
	}
	ctx, end := l.cache.ahead.begin(context.WithValue(ctx, aheadKey{}, true), owner, evicted)
	defer end()
	_, err := l.Localize(ctx, owner, image, progress)
	if errors.Is(context.Cause(ctx), ErrEvicted) {
		l.cache.release(context.WithoutCancel(ctx), owner)
		return fmt.Errorf("localize image %s: %w", image.Tag, ErrEvicted)
	}
	return err
}

// missing returns the names of an image's layers that are here, and the bytes
// of those that are not.
func (l *Localizer) missing(image manifest.Image) (here map[string]bool, bytes int64) {
	here = map[string]bool{}
	for _, layer := range image.Layers {
		if d, ok := l.known(layer); ok && l.cache.inspect(layerName(d), layer.Squashfs.Size) != absent {
			here[layerName(d)] = true
			continue
		}
		bytes += layer.Squashfs.Size
	}
	return here, bytes
}

// roomAhead refuses an image that has no room beside what is held: else most
// of it would be fetched in vain, and good files be deleted for it.
func (c *cache) roomAhead(here map[string]bool, missing int64) error {
	if missing == 0 {
		return nil
	}
	c.mu.Lock()
	held, soft := c.heldLocked()
	var kept, idle int64
	for name, e := range c.entries {
		if e.busy || held[name] || soft[name] || here[name] {
			kept += e.size
		} else {
			idle += e.size
		}
	}
	c.mu.Unlock()
	if c.limit > 0 && kept+missing > c.limit {
		return fmt.Errorf("%w: %s may hold %d bytes, %d are in use or prefetched, and %d more are needed; raise stormcell.cache.max.bytes: %w",
			ErrDiskFull, c.dir, c.limit, kept, missing, errNoRoomAhead)
	}
	if d, err := diskOf(c.dir); err == nil && c.marks.room(d)+idle < missing {
		return fmt.Errorf("%w: %s needs %d bytes, its disk has room for %d until it is too full, and unused files hold %d; "+
			"free some space, or set another storm.oci.resources.local.dir: %w", ErrDiskFull, c.dir, missing, max(0, c.marks.room(d)), idle, errNoRoomAhead)
	}
	return nil
}

// fly joins or begins a fetch. One that was begun ahead of time may fail for
// room that a worker who has joined it can make: then that one begins it anew.
func (l *Localizer) fly(ctx context.Context, key string, arrived func(n int64), fetch fetchFunc) error {
	for {
		err := l.flights.do(ctx, key, arrived, fetch)
		if isAhead(ctx) || !errors.Is(err, errNoRoomAhead) {
			return err
		}
	}
}

// aheadKey marks the context of a fetch ahead of time. It travels with the
// context, since a fetch outlives the call that began it if others share it.
type aheadKey struct{}

func isAhead(ctx context.Context) bool { return ctx.Value(aheadKey{}) != nil }

// markAhead lets a worker that shares a fetch ahead of time know that it may
// make room where the fetch could not.
func markAhead(ctx context.Context, err error) error {
	if isAhead(ctx) && errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("%w: %w", err, errNoRoomAhead)
	}
	return err
}

// ahead knows the owners whose holds are soft, and which of them fetch now.
type ahead struct {
	mu     sync.Mutex
	owners map[string]*aheadFetch
}

// aheadFetch is the last LocalizeAhead of an owner.
type aheadFetch struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at its end
	// evicted is to be called when the files are deleted.
	evicted func()
}

func (a *ahead) begin(ctx context.Context, owner string, evicted func()) (own context.Context, end func()) {
	own, cancel := context.WithCancelCause(ctx)
	f := &aheadFetch{cancel: cancel, done: make(chan struct{}), evicted: evicted}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.owners == nil {
		a.owners = map[string]*aheadFetch{}
	}
	a.owners[owner] = f
	return own, func() {
		close(f.done)
		cancel(nil)
	}
}

// has tells whether owner's hold is soft.
func (a *ahead) has(owner string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owners[owner] != nil
}

// evict ends the fetch of an owner whose files were deleted, if one is under
// way. It returns what is to be called then; nil if the owner's hold is not soft.
func (a *ahead) evict(owner string) (evicted func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.owners[owner]
	if f == nil {
		return nil
	}
	f.cancel(ErrEvicted)
	return f.evicted
}

// remove forgets an owner.
func (a *ahead) remove(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.owners, owner)
}

// giveWay lets a worker have the room of the fetches ahead of time that are
// under way. It ends them, waits until their room is given back, and tells
// whether there were any.
func (a *ahead) giveWay(ctx context.Context) bool {
	if isAhead(ctx) {
		return false
	}
	a.mu.Lock()
	var under []*aheadFetch
	for _, f := range a.owners {
		select {
		case <-f.done:
		default:
			f.cancel(ErrEvicted)
			under = append(under, f)
		}
	}
	a.mu.Unlock()
	for _, f := range under {
		select {
		case <-f.done:
		case <-ctx.Done():
			return false
		}
	}
	return len(under) > 0
}
