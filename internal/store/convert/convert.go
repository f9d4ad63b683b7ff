// Package convert puts images into an image store: it converts each layer's archive
// into a squashfs file in one stream, and publishes the files in an order that keeps the
// store consistent at any moment.
package convert

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// Errors of Publish, besides those of the packages below and of the store.
var (
	// ErrBadRequest is a request whose tags cannot be used.
	ErrBadRequest = errors.New("bad request")
	// ErrPlatform is an image that is built for another platform.
	ErrPlatform = errors.New("image is for another platform")
	// ErrNoMagicFile is an image without the file that Options.MagicFile names.
	ErrNoMagicFile = errors.New("image lacks the magic file")
)

// Limits bound the images that are taken.
type Limits struct {
	// Layers is the number of layers.
	Layers int
	// Compressed is the sum of the layers' blobs, in bytes.
	Compressed int64
	// Unpacked is the size of one layer's uncompressed archive, in bytes, and
	// of the files in it, whose holes an archive may leave out.
	Unpacked int64
}

// DefaultLimits are the limits of the original, except for the number of layers: the
// original takes 37, and stormcell's nodes mount as many as the kernel stacks.
var DefaultLimits = Limits{Layers: manifest.MaxLayers, Compressed: 10 << 30, Unpacked: 100 << 30}

// maxHeaders bounds the memory for the names and attributes of one layer, in
// bytes. It is enough for more than three million files.
const maxHeaders = 1 << 30

// Options say how images are converted and kept.
type Options struct {
	// Platform is what is taken of an image for several.
	Platform source.Platform
	// Limits bound the images.
	Limits Limits
	// TempDir is the directory for squashfs files in the making. They have no
	// names there, so that nothing is left behind. "" is the system's.
	TempDir string
	// TagFile is the name of the store's tag file.
	TagFile string
	// Replication is the number of copies in a distributed store; 0 is the
	// store's default.
	Replication int
	// Force creates files again that the store already has.
	Force bool
	// MagicFile is a path that one of the image's layers must have as a file
	// that is not empty, or "".
	MagicFile string
}

// Converter puts images into a store.
type Converter struct {
	Store store.Writer
	// Squasher makes the squashfs files.
	Squasher *squashfs.Mksquashfs
	Options  Options
	// Progress receives each layer.
	Progress publish.Progress
	// Waiting, if not nil, receives the holder of the lock that the tags wait for.
	Waiting func(holder string)
}

// Request is an image and the tags that it gets in the store.
type Request struct {
	Image string
	Tags  []string
}

// maxAttempts is how often an image is put into the store again of which
// somebody deletes a layer meanwhile.
const maxAttempts = 3

// Publish puts the images into the store and then, all at once, their tags
// into the tag file. When it fails or is killed, the tag file is as it was.
func (c *Converter) Publish(ctx context.Context, requests []Request) (*publish.Report, error) {
	for _, r := range requests {
		if err := r.validate(); err != nil {
			return nil, err
		}
	}
	return c.publishAll(ctx, requests)
}

// Build is Publish where each image gets its own name as its tag, whatever
// that looks like: for a store from which images are copied under other tags.
func (c *Converter) Build(ctx context.Context, images []string) (*publish.Report, error) {
	requests := make([]Request, 0, len(images))
	for _, image := range images {
		// Before hours of work, see whether the tag file can hold the name.
		if err := new(manifest.Tags).Set(image, ""); err != nil {
			return nil, fmt.Errorf("%w: image %s: %w", ErrBadRequest, image, err)
		}
		requests = append(requests, Request{Image: image, Tags: []string{image}})
	}
	return c.publishAll(ctx, requests)
}

func (c *Converter) publishAll(ctx context.Context, requests []Request) (*publish.Report, error) {
	publisher := c.publisher()
	if err := publisher.Tags().Check(ctx); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		report := new(publish.Report)
		for _, r := range requests {
			result, err := c.image(ctx, r)
			if err != nil {
				return report, err
			}
			report.Images = append(report.Images, *result)
		}
		var err error
		report.Warnings, err = publisher.Tag(ctx, report.Images)
		if publish.Vanished(err) && attempt < maxAttempts {
			continue // what was kept has been deleted since
		}
		return report, err
	}
}

func (c *Converter) publisher() *publish.Publisher {
	return &publish.Publisher{
		Store:       c.Store,
		TagFile:     c.Options.TagFile,
		Replication: c.Options.Replication,
		Force:       c.Options.Force,
		Policy:      store.VerifyRequired,
		Waiting:     c.Waiting,
	}
}

func (r Request) validate() error {
	if len(r.Tags) == 0 {
		return fmt.Errorf("%w: image %s has no tag: write IMAGE,TAG", ErrBadRequest, r.Image)
	}
	for _, tag := range r.Tags {
		if !allowlist.WellFormed(tag) {
			return fmt.Errorf("%w: image %s: tag %q: write [REGISTRY/]NAME[:TAG]", ErrBadRequest, r.Image, tag)
		}
	}
	return nil
}

// layersAtOnce is how many layers of an image are converted side by side.
// Unpacking uses one CPU for each, mksquashfs the rest.
func layersAtOnce() int { return min(max(runtime.NumCPU()/2, 2), 8) }
