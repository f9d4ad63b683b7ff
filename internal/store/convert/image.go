package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// image publishes all of an image but its tags: first the layers, then the
// config, then the manifest that names them.
func (c *Converter) image(ctx context.Context, r Request) (*publish.Result, error) {
	img, err := source.Open(ctx, r.Image, c.Options.Platform)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	result, err := c.publish(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.Image, err)
	}
	result.Image, result.Tags, result.Comments = r.Image, r.Tags, []string{r.Image}
	return result, nil
}

func (c *Converter) publish(ctx context.Context, img *source.Image) (*publish.Result, error) {
	limits := publish.Limits{Layers: c.Options.Limits.Layers, Compressed: c.Options.Limits.Compressed}
	if err := limits.Check(img.Manifest); err != nil {
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
	publisher := c.publisher()
	if err := publisher.PutDocument(ctx, manifest.ConfigFile(img.Manifest.Config.Digest), configContent); err != nil {
		return nil, err
	}
	if err := publisher.PutDocument(ctx, manifest.ManifestFile(img.Digest), img.Content); err != nil {
		return nil, err
	}
	return &publish.Result{ManifestDigest: img.Digest, ConfigDigest: img.Manifest.Config.Digest, Layers: layers}, nil
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

// layers publishes the layers side by side, and looks for the magic file in
// them. A layer that the manifest lists twice is made once.
func (c *Converter) layers(ctx context.Context, img *source.Image, diffIDs []digest.Digest) ([]publish.LayerResult, error) {
	var (
		group, groupCtx = errgroup.WithContext(ctx)
		lock            sync.Mutex
		made            = map[digest.Digest]publish.LayerResult{}
		magic           bool
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
			result, hasMagic, err := c.layer(groupCtx, img, publish.Layer{Descriptor: d, DiffID: diffIDs[i]})
			if err != nil {
				return fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			lock.Lock()
			defer lock.Unlock()
			made[d.Digest], magic = result, magic || hasMagic
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if c.magicFile() != "" && !magic {
		if err := c.findMagic(ctx, img, diffIDs, made); err != nil {
			return nil, err
		}
	}
	results := make([]publish.LayerResult, 0, len(img.Manifest.Layers))
	for _, d := range img.Manifest.Layers {
		results = append(results, made[d.Digest])
	}
	return results, nil
}
