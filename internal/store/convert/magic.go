package convert

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/convert/layertar"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// magicFile is Options.MagicFile as layers name it.
func (c *Converter) magicFile() string {
	if c.Options.MagicFile == "" {
		return ""
	}
	return strings.TrimPrefix(path.Clean("/"+c.Options.MagicFile), "/")
}

// findMagic looks for the magic file in those layers that were not converted,
// base first, as the original does: a file that a later layer hides counts.
func (c *Converter) findMagic(ctx context.Context, img *source.Image, diffIDs []digest.Digest, made map[digest.Digest]publish.LayerResult) error {
	var seen []digest.Digest
	for i, d := range img.Manifest.Layers {
		if made[d.Digest].Outcome == publish.Converted || slices.Contains(seen, d.Digest) {
			continue
		}
		seen = append(seen, d.Digest)
		found, err := c.hasMagic(ctx, img, publish.Layer{Descriptor: d, DiffID: diffIDs[i]})
		if err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		if found {
			return nil
		}
	}
	return fmt.Errorf("%w: no layer has a file %s with content", ErrNoMagicFile, c.magicFile())
}

// hasMagic reads a layer's blob to see whether the magic file is in it.
func (c *Converter) hasMagic(ctx context.Context, img *source.Image, l publish.Layer) (found bool, err error) {
	blob, err := img.Blob(ctx, l.Descriptor)
	if err != nil {
		return false, err
	}
	defer blob.Close()
	c.Progress.Begin(l.Digest, l.Size)
	defer func() { c.Progress.End(l.Digest, err == nil) }()
	in := newStream(ctx, blob, l, c.Options.Limits.Unpacked, c.Progress)
	if found, err = layertar.Contains(in, c.magicFile()); err != nil {
		return false, errors.Join(err, in.close())
	}
	return found, in.finish()
}
