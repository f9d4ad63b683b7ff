package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/stormcell/stormcell/internal/store/convert/layertar"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// layer sees to it that the store has a layer with its identity. magic tells
// whether the magic file is known to be in it.
func (c *Converter) layer(ctx context.Context, img *source.Image, l publish.Layer) (result publish.LayerResult, magic bool, err error) {
	result = publish.LayerResult{Digest: l.Digest, Size: l.Size}
	if !c.Options.Force {
		publisher := c.publisher()
		result.Squashfs, result.Outcome, err = publisher.Present(ctx, l)
		if err == nil && result.Outcome == publish.Identified {
			result.Squashfs, err = publisher.Identify(ctx, l)
		}
		if err != nil || result.Outcome != "" {
			return result, false, err
		}
	}
	c.Progress.Begin(l.Digest, l.Size)
	id, summary, err := c.convert(ctx, img, l)
	c.Progress.End(l.Digest, err == nil)
	result.Squashfs, result.Outcome, result.DroppedXattrs = id, publish.Converted, summary.DroppedXattrs
	return result, summary.Found, err
}

// convert makes a layer's squashfs file and publishes it.
func (c *Converter) convert(ctx context.Context, img *source.Image, l publish.Layer) (manifest.Identity, layertar.Summary, error) {
	out, err := unnamedFile(c.Options.TempDir)
	if err != nil {
		return manifest.Identity{}, layertar.Summary{}, err
	}
	defer out.Close()
	// The first pass is right for usual images; see package layertar.
	summary, plan, err := c.pass(ctx, img, l, out, nil)
	if err == nil && plan != nil {
		c.Progress.Advance(l.Digest, -l.Size)
		if err = out.Truncate(0); err == nil {
			summary, _, err = c.pass(ctx, img, l, out, plan)
		}
	}
	if err != nil {
		return manifest.Identity{}, summary, err
	}
	fi, err := out.Stat()
	if err != nil {
		return manifest.Identity{}, summary, fmt.Errorf("stat squashfs: %w", err)
	}
	id, err := c.publisher().PutLayer(ctx, l, out, fi.Size(), squashfs.Compression, nil)
	return id, summary, err
}

// pass reads the blob once and makes the squashfs file of it. It trusts
// nothing of the blob before all of it has been read and hashed; the file is
// good only if it returns neither an error nor a plan for another pass.
func (c *Converter) pass(ctx context.Context, img *source.Image, l publish.Layer, out *os.File, plan layertar.Plan) (layertar.Summary, layertar.Plan, error) {
	blob, err := img.Blob(ctx, l.Descriptor)
	if err != nil {
		return layertar.Summary{}, nil, err
	}
	defer blob.Close()
	in := newStream(ctx, blob, l, c.Options.Limits.Unpacked, c.Progress)
	build, err := c.Squasher.Start(ctx, out)
	if err != nil {
		return layertar.Summary{}, nil, errors.Join(err, in.close())
	}
	limits := layertar.Limits{Content: c.Options.Limits.Unpacked, Headers: maxHeaders}
	summary, next, err := layertar.Rewrite(build, in, limits, plan, c.magicFile())
	if err == nil {
		err = in.finish()
	}
	if err != nil || next != nil {
		died := build.Abort()
		switch {
		case err == nil:
			return summary, next, nil
		case errors.Is(err, syscall.EPIPE) && died != nil:
			return summary, nil, errors.Join(died, in.close())
		}
		return summary, nil, in.diagnose(err)
	}
	_, err = build.Finish(summary.Inodes, squashfs.Root{Mode: summary.RootMode, Mtime: summary.RootMtime})
	return summary, nil, err
}
