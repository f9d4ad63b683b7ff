package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// layersAtOnce is how many layers are copied or hashed side by side.
const layersAtOnce = 4

// CopyRequest is an image of another store and the tags that it gets.
type CopyRequest struct {
	// Tag names the image in the other store.
	Tag string
	// Tags are those that it gets here; none means Tag.
	Tags []string
}

// CopyOptions say how images are copied.
type CopyOptions struct {
	Limits publish.Limits
	// Force copies files again that the store already has.
	Force bool
}

// Copy copies images from the store that from looks after into c's, and then
// sets their tags, all at once. Every file is verified on its way: documents
// by the digests that name them, layers by their identities. The comments of
// the tag file come along.
func (c *Curator) Copy(ctx context.Context, from *Curator, requests []CopyRequest, opts CopyOptions) (*publish.Report, error) {
	publisher := c.publisher()
	publisher.Force = opts.Force
	if err := publisher.Tags().Check(ctx); err != nil {
		return nil, err
	}
	tags, warnings, err := from.tags().Read(ctx)
	if err != nil {
		return nil, err
	}
	from.warn(warnings)
	for attempt := 1; ; attempt++ {
		report := &publish.Report{DryRun: c.DryRun}
		for _, r := range requests {
			cp := copier{from: from, to: c, publisher: publisher, opts: opts}
			result, err := cp.image(ctx, r, tags)
			if err != nil {
				return report, fmt.Errorf("copy image %s of %s: %w", r.Tag, from.Store.URL(), err)
			}
			report.Images = append(report.Images, *result)
		}
		if c.DryRun {
			return report, nil
		}
		report.Warnings, err = publisher.Tag(ctx, report.Images)
		if publish.Vanished(err) && attempt < maxAttempts {
			continue // what was kept has been deleted since
		}
		return report, err
	}
}

// maxAttempts is how often an image is copied again of which somebody deletes
// a layer meanwhile.
const maxAttempts = 3

// copier copies one image.
type copier struct {
	from, to  *Curator
	publisher *publish.Publisher
	opts      CopyOptions
}

func (cp copier) image(ctx context.Context, r CopyRequest, tags *manifest.Tags) (*publish.Result, error) {
	d, ok := tags.Lookup(r.Tag)
	if !ok {
		return nil, fmt.Errorf("%w: it has no tag %q", ErrUnknownImage, r.Tag)
	}
	result := &publish.Result{Image: r.Tag, ManifestDigest: d, Tags: r.Tags, Comments: tags.Comments(d)}
	if len(r.Tags) == 0 {
		result.Tags = []string{r.Tag}
	}
	if err := wellFormed(result.Tags); err != nil {
		return nil, err
	}
	// All of it, before anything is written: a source that is not whole is
	// not copied in part.
	source, err := store.Resolve(ctx, cp.from.Store, r.Tag, d, store.VerifyIfPresent)
	if err != nil {
		return nil, err
	}
	content, err := cp.from.Store.ReadFile(ctx, manifest.ManifestFile(d), manifest.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(content, d)
	if err != nil {
		return nil, err
	}
	if err := cp.opts.Limits.Check(m); err != nil {
		return nil, err
	}
	result.ConfigDigest = m.Config.Digest
	configContent, err := cp.from.Store.ReadFile(ctx, manifest.ConfigFile(m.Config.Digest), manifest.MaxConfigSize)
	if err != nil {
		return nil, err
	}
	config, err := manifest.ParseConfig(configContent, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	if len(config.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("image config %s: %w: it has %d layers, the manifest %d", m.Config.Digest, manifest.ErrMalformed, len(config.DiffIDs), len(m.Layers))
	}
	if result.Layers, err = cp.layers(ctx, m, source.Layers, config.DiffIDs); err != nil || cp.to.DryRun {
		return result, err
	}
	if err := cp.publisher.PutDocument(ctx, manifest.ConfigFile(m.Config.Digest), configContent); err != nil {
		return nil, err
	}
	return result, cp.publisher.PutDocument(ctx, manifest.ManifestFile(d), content)
}

// layers copies the layers side by side, each once.
func (cp copier) layers(ctx context.Context, m *manifest.Manifest, source []manifest.Layer, diffIDs []digest.Digest) ([]publish.LayerResult, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(layersAtOnce)
	var lock sync.Mutex
	done := map[digest.Digest]publish.LayerResult{}
	for i, d := range m.Layers {
		if slices.IndexFunc(m.Layers, func(o manifest.Descriptor) bool { return o.Digest == d.Digest }) != i {
			continue
		}
		group.Go(func() error {
			result, err := cp.layer(groupCtx, publish.Layer{Descriptor: d, DiffID: diffIDs[i]}, source[i])
			if err != nil {
				return fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			lock.Lock()
			defer lock.Unlock()
			done[d.Digest] = result
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	results := make([]publish.LayerResult, 0, len(m.Layers))
	for _, d := range m.Layers {
		results = append(results, done[d.Digest])
	}
	return results, nil
}

// layer copies a layer unless the store has it. One that contradicts its
// identity there is copied again.
func (cp copier) layer(ctx context.Context, l publish.Layer, source manifest.Layer) (publish.LayerResult, error) {
	result := publish.LayerResult{Digest: l.Digest, Size: l.Size}
	if !cp.opts.Force {
		id, outcome, err := cp.publisher.Present(ctx, l)
		if err == nil && outcome == publish.Identified && !cp.to.DryRun {
			id, err = cp.publisher.Identify(ctx, l)
		}
		if err == nil && outcome != "" {
			result.Squashfs, result.Outcome = id, outcome
			return result, nil
		}
		if err != nil && !errors.Is(err, publish.ErrDamaged) {
			return result, err
		}
		if err != nil {
			cp.to.Log.Warn("a damaged layer is copied again", "layer", l.Digest, "problem", err)
		}
	}
	result.Outcome = publish.Copied
	if source.Squashfs.Digest == "" {
		result.Outcome = publish.Unverified
	}
	if cp.to.DryRun {
		result.Squashfs = manifest.Identity{Digest: source.Squashfs.Digest, Size: source.Squashfs.Size, DiffID: l.DiffID}
		return result, nil
	}
	var err error
	result.Squashfs, err = cp.file(ctx, l, source)
	return result, err
}

// file copies a layer's file and hashes it on its way.
func (cp copier) file(ctx context.Context, l publish.Layer, source manifest.Layer) (id manifest.Identity, err error) {
	f, err := cp.from.Store.Open(ctx, source.File)
	if err != nil {
		return id, fmt.Errorf("open %s: %w", source.File, err)
	}
	defer f.Close()
	super, err := squashfs.CheckSuperblock(f, f.Size())
	if err != nil {
		return id, fmt.Errorf("%s of %s: %w", source.File, cp.from.Store.URL(), err)
	}
	var want *manifest.Identity
	if source.Squashfs.Digest != "" {
		want = &manifest.Identity{Digest: source.Squashfs.Digest, Size: source.Squashfs.Size}
	}
	cp.to.Progress.Begin(l.Digest, f.Size())
	defer func() { cp.to.Progress.End(l.Digest, err == nil) }()
	content := &counted{ReaderAt: f, layer: l.Digest, progress: cp.to.Progress}
	return cp.publisher.PutLayer(ctx, l, content, f.Size(), super.Compression, want)
}

// counted tells how much of a layer has been read, once.
type counted struct {
	io.ReaderAt
	layer    digest.Digest
	progress publish.Progress
	read     int64
}

// ReadAt implements io.ReaderAt.
func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	if until := off + int64(n); until > c.read {
		c.progress.Advance(c.layer, until-c.read)
		c.read = until
	}
	return n, err
}
