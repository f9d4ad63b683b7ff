package localizer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// layer brings one layer, holds it for owner and returns the digest of its
// content.
func (l *Localizer) layer(ctx context.Context, owner string, layer manifest.Layer, m *meter) (digest.Digest, error) {
	var told int64
	arrived := func(n int64) { told += n; m.add(n) }
	// More than once only where a file without identity, which can be held
	// only when its digest is known, is evicted right after its fetch.
	for range 3 {
		if d, ok := l.cached(owner, layer); ok {
			m.add(layer.Squashfs.Size - told)
			return d, nil
		}
		err := l.fly(ctx, flightKey(layer), arrived, func(ctx context.Context, arrived func(int64)) error {
			return l.fetch(ctx, layer, arrived)
		})
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("layer cache %s does not store what is written to it", l.cache.dir)
}

func flightKey(layer manifest.Layer) string {
	if layer.Squashfs.Digest == "" {
		return recallName(layer.Digest)
	}
	return layerName(layer.Squashfs.Digest)
}

// cached holds a layer and tells whether it is here and whole. The hold comes
// first, so that the file cannot go in between.
func (l *Localizer) cached(owner string, layer manifest.Layer) (digest.Digest, bool) {
	d, ok := l.known(layer)
	if !ok {
		return "", false
	}
	l.cache.hold(owner, layerName(d))
	return d, l.cache.inspect(layerName(d), layer.Squashfs.Size) == whole
}

// known returns the digest of a layer's content, as the store or an earlier
// fetch tells it.
func (l *Localizer) known(layer manifest.Layer) (digest.Digest, bool) {
	if layer.Squashfs.Digest != "" {
		return layer.Squashfs.Digest, true
	}
	return l.cache.recall(layer)
}

// fetch makes a layer whole in the cache.
func (l *Localizer) fetch(ctx context.Context, layer manifest.Layer, arrived func(int64)) (err error) {
	begun := time.Now()
	defer func() { l.opts.Observer.FetchDone(time.Since(begun), err) }()
	if err := l.layers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.layers.Release(1)
	if d, ok := l.known(layer); ok {
		mended, err := l.mend(ctx, d, layer.Squashfs.Size)
		if mended || err != nil {
			return err
		}
	}
	d, err := l.download(ctx, layer, arrived)
	if err != nil || layer.Squashfs.Digest != "" {
		return err
	}
	return l.cache.remember(ctx, layer.Digest, manifest.Blob{Digest: d, Size: layer.Squashfs.Size})
}

// mend hashes a file that is here but whose seal is broken. If its content is
// right it is sealed again, else it is deleted.
func (l *Localizer) mend(ctx context.Context, d digest.Digest, size int64) (bool, error) {
	name := layerName(d)
	switch l.cache.inspect(name, size) {
	case whole:
		return true, nil
	case absent:
		return false, l.cache.drop(name)
	case doubtful:
	}
	f, err := l.cache.root.Open(name)
	if err != nil {
		return false, fmt.Errorf("layer cache %s: %w", l.cache.dir, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &contextReader{ctx, f}); err != nil {
		return false, fmt.Errorf("layer cache %s: read %s: %w", l.cache.dir, name, err)
	}
	if digest.NewDigest(digest.SHA256, h) != d {
		return false, l.cache.drop(name)
	}
	return true, l.cache.mend(name)
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives for one io.Copy
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// download fetches a layer's file from the store. If what an earlier try has
// left of it turns out to be spoilt, it fetches the whole file once more.
func (l *Localizer) download(ctx context.Context, layer manifest.Layer, arrived func(int64)) (digest.Digest, error) {
	src, err := l.openSource(ctx, layer.File)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if got, want := src.Size(), layer.Squashfs.Size; got != want {
		return "", l.corrupt(layer, fmt.Errorf("it has %d bytes, expected %d", got, want))
	}
	for {
		var told int64
		d, resumed, err := l.bring(ctx, src, layer, func(n int64) { told += n; arrived(n) })
		if !resumed || !errors.Is(err, ErrCorrupt) {
			return d, err
		}
		arrived(-told)
	}
}

// bring copies a layer into the cache, checked by its digest where that is
// known, and by its superblock always. resumed tells whether a part of it was
// of an earlier try. What a failure leaves is gone on with later, unless it is
// wrong or in the way.
func (l *Localizer) bring(ctx context.Context, src *source, layer manifest.Layer, arrived func(int64)) (d digest.Digest, resumed bool, err error) {
	want, size := layer.Squashfs.Digest, layer.Squashfs.Size
	name := freshName(layersDir)
	if want != "" {
		name = partialName(want)
	}
	dst, err := l.cache.begin(ctx, name, size)
	if err != nil {
		return "", false, err
	}
	defer dst.leave()
	got, err := l.copy(ctx, src, dst, arrived)
	switch {
	case errors.Is(err, errShort):
		err = l.corrupt(layer, err)
	case err == nil && want != "" && got != want:
		err = l.corrupt(layer, fmt.Errorf("expected %s, got %s", want, got))
	case err == nil:
		if _, cause := squashfs.CheckSuperblock(dst, size); cause != nil {
			err = l.corrupt(layer, cause)
		}
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrDiskFull) {
		dst.drop()
	}
	if err != nil {
		return "", dst.resumed, err
	}
	return got, dst.resumed, dst.publish(layerName(got))
}

// corrupt names the file in the store and the cure.
func (l *Localizer) corrupt(layer manifest.Layer, cause error) error {
	return fmt.Errorf("%s in %s is %w: %w; push the image again", layer.File, l.opts.Store.URL(), ErrCorrupt, cause)
}

// config brings an image config and holds it for owner.
func (l *Localizer) config(ctx context.Context, owner string, d digest.Digest) (*manifest.ImageConfig, error) {
	name := configName(d)
	l.cache.hold(owner, name)
	// Small enough to be checked at each use.
	if content, err := l.cache.read(name, manifest.MaxConfigSize); err == nil {
		if config, err := manifest.ParseConfig(content, d); err == nil {
			return config, nil
		}
	}
	err := l.fly(ctx, name, func(int64) {}, func(ctx context.Context, _ func(int64)) error {
		return l.fetchConfig(ctx, d)
	})
	if err != nil {
		return nil, err
	}
	content, err := l.cache.read(name, manifest.MaxConfigSize)
	if err != nil {
		return nil, fmt.Errorf("layer cache %s: %w", l.cache.dir, err)
	}
	return manifest.ParseConfig(content, d)
}

func (l *Localizer) fetchConfig(ctx context.Context, d digest.Digest) error {
	var content []byte
	err := l.retry(ctx, func() (err error) {
		content, err = l.opts.Store.ReadFile(ctx, manifest.ConfigFile(d), manifest.MaxConfigSize)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", store.ErrConfigMissing, err)
	case errors.Is(err, store.ErrTooLarge):
		return fmt.Errorf("%s in %s is %w: %w", manifest.ConfigFile(d), l.opts.Store.URL(), ErrCorrupt, err)
	case err != nil:
		return err
	}
	if _, err := manifest.ParseConfig(content, d); err != nil {
		return fmt.Errorf("%s in %s is %w: %w; push the image again", manifest.ConfigFile(d), l.opts.Store.URL(), ErrCorrupt, err)
	}
	return l.cache.write(ctx, configName(d), content)
}
