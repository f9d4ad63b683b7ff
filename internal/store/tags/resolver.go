package tags

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Options are the settings of a Resolver.
type Options struct {
	// Verify says what to make of layers without an identity.
	Verify store.VerifyPolicy
	// Interval is how long an image is taken to be whole in the store.
	Interval time.Duration
	// Images is the number of images kept in memory, at least 1.
	Images int
	// Now returns the current time.
	Now func() time.Time
}

// Resolver turns tags into images. It costs nothing to make, so a changed
// configuration gets a new one. Its methods may be called side by side.
type Resolver struct {
	tags    *Index
	store   store.Reader
	opts    Options
	flights *flights[entry]

	mu     sync.Mutex
	images *lru
}

// NewResolver returns a resolver of the images in store that tags names.
func NewResolver(tags *Index, store store.Reader, opts Options) *Resolver {
	return &Resolver{tags: tags, store: store, opts: opts, flights: newFlights[entry](), images: newLRU(opts.Images)}
}

// Warnings are those of the tag files (Index.Warnings).
func (r *Resolver) Warnings() []string { return r.tags.Warnings() }

// Resolve returns the image that tag names. Whether all its parts are still in
// the store is checked once in each interval. While the store is away, an
// image that was whole is answered from memory, and Answer says so. Errors are
// those of Lookup and of store.Resolve. The image is the caller's own.
func (r *Resolver) Resolve(ctx context.Context, tag string) (*manifest.Image, Answer, error) {
	answer, err := r.tags.Lookup(ctx, tag)
	if err != nil {
		return nil, answer, err
	}
	e, err := r.fresh(ctx, tag, answer.Digest)
	if err != nil {
		return nil, answer, err
	}
	if e.err != nil {
		answer.Stale, answer.Err = true, errors.Join(answer.Err, e.err)
	}
	image := *e.image
	image.Tag, image.Layers = tag, slices.Clone(e.image.Layers)
	return &image, answer, nil
}

// entry is a resolved image; err tells that the store was away at the last check.
type entry struct {
	image   *manifest.Image
	checked time.Time
	err     error
}

// fresh returns an entry that was checked within the interval, or an older one
// with the error of a store that is away.
func (r *Resolver) fresh(ctx context.Context, tag string, d digest.Digest) (entry, error) {
	old, known := r.cached(d)
	if known && !r.due(old) {
		return old, nil
	}
	e, err := r.flights.do(ctx, d.String(), func(ctx context.Context) (entry, error) { return r.refresh(ctx, tag, d) })
	if err != nil {
		err = fmt.Errorf("resolve image %q: %w", tag, err)
	}
	if known && (errors.Is(err, store.ErrUnavailable) || err != nil && ctx.Err() != nil) {
		old.err = err
		return old, nil //nolint:nilerr // the entry carries it
	}
	return e, err
}

// refresh asks the store for the image again. It runs in one goroutine at a
// time for one digest.
func (r *Resolver) refresh(ctx context.Context, tag string, d digest.Digest) (entry, error) {
	old, known := r.cached(d)
	if known && !r.due(old) {
		return old, nil // the flight before this one has done it
	}
	image, err := store.Resolve(ctx, r.store, tag, d, r.opts.Verify)
	err = overdue(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		e := entry{image: image, checked: r.opts.Now()}
		r.images.put(d, e)
		return e, nil
	case known && errors.Is(err, store.ErrUnavailable):
		// What the digest stands for cannot have changed.
		old.checked, old.err = r.opts.Now(), err
		r.images.put(d, old)
		return old, nil
	default:
		r.images.remove(d)
		return entry{}, err
	}
}

func (r *Resolver) cached(d digest.Digest) (entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.images.get(d)
}

func (r *Resolver) due(e entry) bool { return due(e.checked, e.err, r.opts.Now(), r.opts.Interval) }
