package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/convert/source"
	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/manifest"
)

// image publishes all of an image but its tags: first the layers, then the
// config, then the manifest that names them.
func (c *Converter) image(ctx context.Context, r Request) (*Result, error) {
	img, err := source.Open(ctx, r.Image, c.Options.Platform)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	result, err := c.publish(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.Image, err)
	}
	result.Image, result.Tags = r.Image, r.Tags
	return result, nil
}

func (c *Converter) publish(ctx context.Context, img *source.Image) (*Result, error) {
	if err := c.Options.Limits.check(img.Manifest); err != nil {
		return nil, err
	}
	configContent, config, err := c.config(ctx, img)
	if err != nil {
		return nil, err
	}
	layers, err := c.layers(ctx, img, config.DiffIDs)
	if err != nil {
		return nil, err
	}
	if err := c.putDocument(ctx, manifest.ConfigFile(img.Manifest.Config.Digest), configContent); err != nil {
		return nil, err
	}
	if err := c.putDocument(ctx, manifest.ManifestFile(img.Digest), img.Content); err != nil {
		return nil, err
	}
	// See it as a node will, before a tag leads there.
	if _, err := imagestore.Resolve(ctx, c.Store, img.Name, img.Digest, imagestore.VerifyRequired); err != nil {
		return nil, fmt.Errorf("check what was published: %w", err)
	}
	return &Result{ManifestDigest: img.Digest, ConfigDigest: img.Manifest.Config.Digest, Layers: layers}, nil
}

func (l Limits) check(m *manifest.Manifest) error {
	if len(m.Layers) > l.Layers {
		return fmt.Errorf("%w: %d layers, at most %d are allowed: squash some, or raise --max-layers", ErrLimit, len(m.Layers), l.Layers)
	}
	left := l.Compressed
	for _, layer := range m.Layers {
		if left -= layer.Size; left < 0 {
			return fmt.Errorf("%w: its layers have more than %d bytes: raise --max-size", ErrLimit, l.Compressed)
		}
	}
	return nil
}

// config reads and checks the image config.
func (c *Converter) config(ctx context.Context, img *source.Image) ([]byte, *manifest.ImageConfig, error) {
	d := img.Manifest.Config
	blob, err := img.Blob(ctx, d)
	if err != nil {
		return nil, nil, fmt.Errorf("image config %s: %w", d.Digest, err)
	}
	defer blob.Close()
	content, err := io.ReadAll(io.LimitReader(blob, manifest.MaxConfigSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read image config %s: %w", d.Digest, err)
	}
	config, err := manifest.ParseConfig(content, d.Digest)
	if err != nil {
		return nil, nil, err
	}
	if len(config.DiffIDs) != len(img.Manifest.Layers) {
		return nil, nil, fmt.Errorf("image config %s: %w: it has %d layers, the manifest %d", d.Digest, manifest.ErrMalformed, len(config.DiffIDs), len(img.Manifest.Layers))
	}
	have := source.Platform{OS: config.OS, Architecture: config.Architecture, Variant: c.Options.Platform.Variant}
	if config.Architecture != "" && !c.Options.Platform.Runs(have) {
		return nil, nil, fmt.Errorf("%w: it is for %s/%s, wanted %s: pass --platform %s/%s",
			ErrPlatform, config.OS, config.Architecture, c.Options.Platform, config.OS, config.Architecture)
	}
	return content, config, nil
}

// layers publishes the layers side by side. A layer that the manifest lists
// twice is made once.
func (c *Converter) layers(ctx context.Context, img *source.Image, diffIDs []digest.Digest) ([]LayerResult, error) {
	var (
		group, groupCtx = errgroup.WithContext(ctx)
		lock            sync.Mutex
		made            = map[digest.Digest]LayerResult{}
	)
	group.SetLimit(layersAtOnce())
	for i, d := range img.Manifest.Layers {
		first := slices.IndexFunc(img.Manifest.Layers, func(o manifest.Descriptor) bool { return o.Digest == d.Digest })
		if diffIDs[first] != diffIDs[i] {
			return nil, errors.Join(fmt.Errorf("layer %s: %w: the image config has two digests for it", d.Digest, manifest.ErrMalformed), group.Wait())
		}
		if first != i {
			continue
		}
		group.Go(func() error {
			result, err := c.layer(groupCtx, img, layer{Descriptor: d, diffID: diffIDs[i]})
			if err != nil {
				return fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			lock.Lock()
			defer lock.Unlock()
			made[d.Digest] = result
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	results := make([]LayerResult, 0, len(img.Manifest.Layers))
	for _, d := range img.Manifest.Layers {
		results = append(results, made[d.Digest])
	}
	return results, nil
}

// putDocument writes a file that is named by the digest of its content, unless
// it is there.
func (c *Converter) putDocument(ctx context.Context, name string, content []byte) error {
	old, err := c.Store.ReadFile(ctx, name, int64(len(content)))
	if err == nil && string(old) == string(content) && !c.Options.Force {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, imagestore.ErrTooLarge) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return c.putFile(ctx, name, content)
}

func (c *Converter) putFile(ctx context.Context, name string, content []byte) error {
	up, err := c.Store.Create(ctx, name, c.createOptions())
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer up.Abort()
	if _, err := up.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return up.Commit()
}

func (c *Converter) createOptions() imagestore.CreateOptions {
	return imagestore.CreateOptions{Replication: c.Options.Replication}
}
