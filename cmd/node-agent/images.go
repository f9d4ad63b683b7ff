package main

import (
	"context"

	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// images resolves on the node what the cluster says no more of: a worker is
// pinned to a manifest, and its tag may have moved on since.
type images struct {
	*localizer.Localizer
	store  store.Reader
	verify store.VerifyPolicy
}

var (
	_ runtime.Images  = (*images)(nil)
	_ prefetch.Images = (*images)(nil)
)

// Localize implements runtime.Images.
func (i *images) Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	image, err := i.resolve(ctx, image)
	if err != nil {
		return nil, err
	}
	return i.Localizer.Localize(ctx, owner, image, progress)
}

// LocalizeAhead implements prefetch.Images.
func (i *images) LocalizeAhead(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64), evicted func()) error {
	image, err := i.resolve(ctx, image)
	if err != nil {
		return err
	}
	return i.Localizer.LocalizeAhead(ctx, owner, image, progress, evicted)
}

func (i *images) resolve(ctx context.Context, image manifest.Image) (manifest.Image, error) {
	if len(image.Layers) > 0 {
		return image, nil
	}
	resolved, err := store.Resolve(ctx, i.store, image.Tag, image.ManifestDigest, i.verify)
	if err != nil {
		return image, err
	}
	return *resolved, nil
}
