// Package localizer fetches the files of images from an image store to this node and
// keeps them in a cache that only root can change:
//
//	<dir>/layers/<squashfs hex>.sqsh    a layer, named by its own content
//	<dir>/layers/<archive hex>.json     for a layer without identity in the
//	                                    store: which content was fetched for it
//	<dir>/config/<config hex>           an image config
//
// A file gets its final name only when it is complete: it is fetched under a temporary
// name, hashed while its bytes arrive, checked and synced. Then its modification time is
// set to a fixed time, the seal. A file with a wrong size or seal was cut or altered, and
// is hashed again before it is used. So a warm start does not read complete files.
//
// The temporary name of a layer whose digest is known is <dir>/layers/.fetch-
// and its hex digits: the next fetch continues one that was abandoned, has failed or was
// killed. The holes of the file show what is missing, and the digest of the whole file
// shows whether the rest is right.
package localizer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Errors that callers distinguish, beside those of package store.
var (
	// ErrCorrupt is a file of the store that does not match its digest or size.
	ErrCorrupt = errors.New("corrupt in the image store")
	// ErrDiskFull is a file for which the cache has no space, on its disk or
	// within its limit, although all unused files were deleted.
	ErrDiskFull = errors.New("no space in the layer cache")
	// ErrUntrusted is a cache directory that users other than root can change.
	ErrUntrusted = errors.New("not safe from users other than root")
	// ErrNotRecovered is a Localizer that is used before its Recover.
	ErrNotRecovered = errors.New("layer cache has not been read yet")
)

// parallelLayers is how many files are fetched side by side.
const parallelLayers = 4

// checkInterval is how often the disk and what lies idle in the cache are
// looked at.
const checkInterval = time.Minute

// Options configure a Localizer.
type Options struct {
	Store store.Reader
	// Dir is the absolute path of the cache (storm.oci.resources.local.dir).
	// It is made if it is missing.
	Dir string
	// Verify says what to make of a layer without identity.
	Verify store.VerifyPolicy
	// MaxBytes limits the cache; 0 is no limit but the disk.
	MaxBytes int64
	// When more than DiskHighPercent of the cache's file system are used, by
	// whatever it is, files that nobody holds are deleted until it is
	// DiskLowPercent. 0 and 100 mean never.
	DiskHighPercent, DiskLowPercent int
	// Evicted, if set, is called after files were deleted to make room. A
	// deleted file that is still mounted keeps its space: here is the place to
	// unmount it (rootfs.Manager.Reap).
	Evicted func(context.Context) error
	// Observer may be nil.
	Observer Observer
}

// Observer receives what happens to layers, for metrics. It must not block.
type Observer interface {
	// Arrived receives the number of bytes of a layer that came from the store.
	Arrived(bytes int)
	// FetchDone receives how long the fetch of a layer took, with the time in the
	// queue, and why it failed. A fetch that was abandoned, since nobody needs it
	// any more, has failed with context.Canceled or ErrEvicted.
	FetchDone(took time.Duration, err error)
	// Evicted receives a file that was deleted to free space.
	Evicted(bytes int64)
}

// nobody is the Observer of a Localizer that has none.
type nobody struct{}

func (nobody) Arrived(int)                    {}
func (nobody) FetchDone(time.Duration, error) {}
func (nobody) Evicted(int64)                  {}

// Localizer fetches images and holds their files. Its methods may be called
// side by side, but for Recover, which comes before all others.
type Localizer struct {
	opts    Options
	cache   *cache
	flights flights
	// layers and segments bound what is fetched side by side.
	layers, segments *semaphore.Weighted
	buffers          sync.Pool
	wait             func(context.Context, time.Duration) error
}

// New returns a Localizer that does nothing until Recover.
func New(opts Options) *Localizer {
	if opts.Observer == nil {
		opts.Observer = nobody{}
	}
	return &Localizer{
		opts:     opts,
		cache:    newCache(opts),
		layers:   semaphore.NewWeighted(parallelLayers),
		segments: semaphore.NewWeighted(parallelSegments),
		buffers:  sync.Pool{New: func() any { return new([pieceSize]byte) }},
		wait:     backoff.Wait,
	}
}

// Recover creates the cache directory and reads what is there. It keeps the unfinished
// files of a killed process that a fetch can continue.
func (l *Localizer) Recover(ctx context.Context) error {
	if err := l.cache.open(ctx); err != nil {
		return fmt.Errorf("layer cache %s: %w", l.opts.Dir, err)
	}
	return nil
}

// Run keeps the cache within its bounds until ctx ends: also when nothing comes
// and goes, others may fill the disk, and what is half fetched gets old.
func (l *Localizer) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		l.cache.expire(ctx, time.Now())
		l.cache.relieve(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Localize fetches what is missing of image, verified, and holds it for owner
// until Release. Calls for the same file share one fetch, which lives as long
// as one of them wants it. progress may be nil; it is called from other
// goroutines, with bytes present and bytes in all. A failure leaves the
// owner's holds as they were. Errors wrap ErrCorrupt, ErrDiskFull,
// store.ErrUnverifiable, ErrLayerMissing, ErrConfigMissing or
// ErrUnavailable, fs.ErrPermission, or the context's error.
func (l *Localizer) Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	if !l.cache.isOpen() {
		return nil, fmt.Errorf("localize image %s: %w", image.Tag, ErrNotRecovered)
	}
	if err := check(image, l.opts.Verify); err != nil {
		return nil, fmt.Errorf("localize image %s: %w", image.Tag, err)
	}
	before := l.cache.held(owner)
	local, err := l.localize(ctx, owner, image, newMeter(image.SquashfsBytes(), progress))
	if err != nil {
		l.cache.restore(owner, before)
		return nil, fmt.Errorf("localize image %s: %w", image.Tag, err)
	}
	l.cache.relieve(ctx)
	return local, nil
}

func (l *Localizer) localize(ctx context.Context, owner string, image manifest.Image, m *meter) (*manifest.LocalImage, error) {
	l.holdKnown(owner, image)
	local := &manifest.LocalImage{Layers: make([]manifest.LocalLayer, len(image.Layers))}
	group, ctx := errgroup.WithContext(ctx)
	if isAhead(ctx) {
		group.SetLimit(1) // workers go first
	}
	group.Go(func() error {
		config, err := l.config(ctx, owner, image.Config.Digest)
		if err != nil {
			return fmt.Errorf("image config %s: %w", image.Config.Digest, err)
		}
		local.Config, local.ConfigPath = *config, l.cache.path(configName(image.Config.Digest))
		return nil
	})
	for i, layer := range image.Layers {
		if layer.Squashfs.Digest == "" {
			local.Unverified++
		}
		group.Go(func() error {
			d, err := l.layer(ctx, owner, layer, m)
			if err != nil {
				return fmt.Errorf("layer %s: %w", layer.Digest, err)
			}
			local.Layers[i] = manifest.LocalLayer{Digest: d, Path: l.cache.path(layerName(d))}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return local, nil
}

// holdKnown holds all of an image at once, as far as its digests are known: the
// fetch of one layer must not make its room of another.
func (l *Localizer) holdKnown(owner string, image manifest.Image) {
	l.cache.hold(owner, configName(image.Config.Digest))
	for _, layer := range image.Layers {
		if d, ok := l.known(layer); ok {
			l.cache.hold(owner, layerName(d))
		}
	}
}

// Hold keeps layers (squashfs digests) for an owner that an earlier process
// localized. A layer whose file is gone is no error: a worker that runs has
// it mounted.
func (l *Localizer) Hold(owner string, layers []digest.Digest) {
	for _, d := range layers {
		if manifest.ValidateDigest(d) == nil {
			l.cache.hold(owner, layerName(d))
		}
	}
}

// Release ends owner's hold; none is no error. Files that nobody holds stay
// until their room is needed.
func (l *Localizer) Release(owner string) { l.cache.release(context.Background(), owner) }

// Size is the number of bytes of the cache, with what is set aside for files
// that are being fetched.
func (l *Localizer) Size() int64 {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	return l.cache.sizeLocked()
}

// check refuses an image whose names or sizes no store has said: root builds
// paths of them.
func check(image manifest.Image, policy store.VerifyPolicy) error {
	if err := manifest.ValidateDigest(image.Config.Digest); err != nil {
		return fmt.Errorf("image config: %w", err)
	}
	if n := len(image.Layers); n == 0 || n > manifest.MaxLayers {
		return fmt.Errorf("%w: %d layers, want 1 to %d", manifest.ErrUnsupported, n, manifest.MaxLayers)
	}
	for _, layer := range image.Layers {
		if err := manifest.ValidateDigest(layer.Digest); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		if layer.Squashfs.Size <= 0 {
			return fmt.Errorf("layer %s: %w: %d bytes", layer.Digest, ErrCorrupt, layer.Squashfs.Size)
		}
		if layer.Squashfs.Digest == "" {
			if policy == store.VerifyRequired {
				return fmt.Errorf("layer %s: %w: %s is missing in the store, and stormcell.image.verify is %q; push the image again",
					layer.Digest, store.ErrUnverifiable, manifest.IdentityFile(layer.Digest), policy)
			}
			continue
		}
		if err := manifest.ValidateDigest(layer.Squashfs.Digest); err != nil {
			return fmt.Errorf("layer %s: squashfs: %w", layer.Digest, err)
		}
	}
	return nil
}

// meter sums the bytes that are present of one image.
type meter struct {
	mu          sync.Mutex
	done, total int64
	report      func(done, total int64)
}

func newMeter(total int64, report func(done, total int64)) *meter {
	m := &meter{total: total, report: report}
	m.add(0)
	return m
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.report != nil {
		m.report(m.done, m.total)
	}
}
