package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Errors of Resolve that name what a store lacks.
var (
	// ErrManifestMissing is a tag or digest whose manifest is not in the store.
	ErrManifestMissing = errors.New("manifest is not in the store")
	// ErrLayerMissing is a manifest one of whose layer files is not there.
	ErrLayerMissing = errors.New("layer file is not in the store")
	// ErrConfigMissing is a manifest whose image config is not there.
	ErrConfigMissing = errors.New("image config is not in the store")
	// ErrIdentityMismatch is a layer whose identity document contradicts it.
	ErrIdentityMismatch = errors.New("layer identity does not match")
	// ErrUnverifiable is a layer without an identity where one is required.
	ErrUnverifiable = errors.New("layer has no identity to verify it by")
)

// VerifyPolicy says what to make of a layer that has no identity document.
type VerifyPolicy string

// The values of stormcell.image.verify.
const (
	VerifyRequired  VerifyPolicy = "required"
	VerifyIfPresent VerifyPolicy = "if-present"
)

// Resolve reads the manifest d and what the store knows of its config and
// layers. It fetches documents and sizes only, no layer. tag goes into the
// result for messages.
func Resolve(ctx context.Context, store Reader, tag string, d digest.Digest, policy VerifyPolicy) (*manifest.Image, error) {
	content, err := readDocument(ctx, store, manifest.ManifestFile(d), manifest.MaxManifestSize, ErrManifestMissing)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	m, err := manifest.Parse(content, d)
	if err != nil {
		return nil, err
	}
	image := &manifest.Image{
		Tag:            tag,
		ManifestDigest: d,
		Config:         manifest.Blob{Digest: m.Config.Digest, Size: m.Config.Size},
	}
	config, err := readConfig(ctx, store, image.Config)
	if err != nil {
		return nil, err
	}
	image.Layers, err = resolveLayers(ctx, store, m.Layers, config.DiffIDs, policy)
	if err != nil {
		return nil, err
	}
	return image, nil
}

// resolvedAtOnce is how many layers are asked for side by side: a worker waits
// for the answer, and a distributed store takes its time for each.
const resolvedAtOnce = 8

// resolveLayers describes the layers. diffIDs are theirs if there are as many.
func resolveLayers(ctx context.Context, store Reader, layers []manifest.Descriptor, diffIDs []digest.Digest, policy VerifyPolicy) ([]manifest.Layer, error) {
	resolved := make([]manifest.Layer, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(resolvedAtOnce)
	for i, l := range layers {
		var diffID digest.Digest
		if len(diffIDs) == len(layers) {
			diffID = diffIDs[i]
		}
		group.Go(func() (err error) {
			resolved[i], err = resolveLayer(ctx, store, l, diffID, policy)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return resolved, nil
}

func readConfig(ctx context.Context, store Reader, b manifest.Blob) (*manifest.ImageConfig, error) {
	content, err := readDocument(ctx, store, manifest.ConfigFile(b.Digest), manifest.MaxConfigSize, ErrConfigMissing)
	if err != nil {
		return nil, fmt.Errorf("read image config %s: %w", b.Digest, err)
	}
	if int64(len(content)) != b.Size {
		return nil, fmt.Errorf("image config %s: %w: its manifest says %d bytes, it has %d", b.Digest, manifest.ErrMalformed, b.Size, len(content))
	}
	return manifest.ParseConfig(content, b.Digest)
}

// resolveLayer describes the layer l. diffID is what the image config says its
// archive hashes to, or empty if that is not known.
func resolveLayer(ctx context.Context, store Reader, l manifest.Descriptor, diffID digest.Digest, policy VerifyPolicy) (manifest.Layer, error) {
	layer := manifest.Layer{Digest: l.Digest, Size: l.Size, File: manifest.LayerFile(l.Digest)}
	info, err := store.Stat(ctx, layer.File)
	if errors.Is(err, fs.ErrNotExist) {
		return layer, fmt.Errorf("layer %s: %w: %s", l.Digest, ErrLayerMissing, layer.File)
	}
	if err != nil {
		return layer, fmt.Errorf("stat layer %s: %w", l.Digest, err)
	}
	layer.Squashfs.Size = info.Size
	content, err := store.ReadFile(ctx, manifest.IdentityFile(l.Digest), manifest.MaxIdentitySize)
	if errors.Is(err, fs.ErrNotExist) {
		if policy == VerifyRequired {
			return layer, fmt.Errorf("layer %s: %w: %s is missing", l.Digest, ErrUnverifiable, manifest.IdentityFile(l.Digest))
		}
		return layer, nil
	}
	if err != nil {
		return layer, fmt.Errorf("read identity of layer %s: %w", l.Digest, err)
	}
	id, err := manifest.ParseIdentity(content)
	if err != nil {
		return layer, fmt.Errorf("layer %s: %w", l.Digest, err)
	}
	if id.Size != info.Size {
		return layer, fmt.Errorf("layer %s: %w: its identity says %d bytes, the file has %d", l.Digest, ErrIdentityMismatch, id.Size, info.Size)
	}
	if diffID != "" && id.DiffID != diffID {
		return layer, fmt.Errorf("layer %s: %w: it was made from %s, the image config says %s", l.Digest, ErrIdentityMismatch, id.DiffID, diffID)
	}
	layer.Squashfs = manifest.Blob{Digest: id.Digest, Size: id.Size}
	return layer, nil
}

func readDocument(ctx context.Context, store Reader, name string, limit int64, missing error) ([]byte, error) {
	content, err := store.ReadFile(ctx, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", missing, name)
	}
	return content, err
}
