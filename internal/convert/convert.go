// Package convert puts images into an image store: it turns each layer's
// archive into a squashfs file as it streams by, and publishes the files in an
// order that leaves the store whole at any moment.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/allowlist"
	"github.com/stormcell/stormcell/internal/convert/source"
	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/manifest"
	"github.com/stormcell/stormcell/internal/squashfs"
)

// Errors of Publish, besides those of the packages below and of the store.
var (
	// ErrNoStore is a store without its folders or its tag file.
	ErrNoStore = errors.New("the store is not set up")
	// ErrBadRequest is a request whose tags cannot be used.
	ErrBadRequest = errors.New("bad request")
	// ErrLimit is an image above one of the Limits.
	ErrLimit = errors.New("image is above a limit")
	// ErrPlatform is an image that is built for another platform.
	ErrPlatform = errors.New("image is for another platform")
	// ErrDamaged is a file of the store that contradicts itself.
	ErrDamaged = errors.New("damaged file in the store")
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

// DefaultLimits are the limits of the original but for the layers, of which it
// takes 37: stormcell's nodes mount as many as the kernel stacks.
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
	// Force makes files anew that the store has already.
	Force bool
}

// Converter puts images into a store.
type Converter struct {
	Store imagestore.Writer
	// Squasher makes the squashfs files.
	Squasher *squashfs.Mksquashfs
	Options  Options
	// Progress is told of each layer.
	Progress Progress
}

// Progress is told how far the layers of an image are. Its methods are called
// from several goroutines.
type Progress interface {
	// Begin announces a layer of size bytes that will be read.
	Begin(layer digest.Digest, size int64)
	// Advance tells that n more bytes have been read. n is negative where a
	// layer has to be read again.
	Advance(layer digest.Digest, n int64)
	// End tells what has become of a layer: done, or ended by an error.
	End(layer digest.Digest, done bool)
}

// Request is an image and the tags that it gets in the store.
type Request struct {
	Image string
	Tags  []string
}

// Report tells what Publish has done.
type Report struct {
	Images []Result `json:"images"`
	// Warnings are lines of the tag file that were dropped, and the like.
	Warnings []string `json:"warnings,omitempty"`
}

// Result is a published image.
type Result struct {
	Image          string        `json:"image"`
	Tags           []string      `json:"tags"`
	ManifestDigest digest.Digest `json:"manifestDigest"`
	ConfigDigest   digest.Digest `json:"configDigest"`
	// Layers are base first.
	Layers []LayerResult `json:"layers"`
}

// LayerResult is a published layer.
type LayerResult struct {
	// Digest and Size are those of the blob in the manifest.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Squashfs is the file in the store.
	Squashfs manifest.Identity `json:"squashfs"`
	Outcome  Outcome           `json:"outcome"`
	// DroppedXattrs counts extended attributes that a squashfs cannot hold or
	// that only overlayfs itself may set.
	DroppedXattrs int `json:"droppedXattrs,omitempty"`
}

// Outcome is what was done for a layer.
type Outcome string

// The outcomes.
const (
	// Converted is a layer that was made.
	Converted Outcome = "converted"
	// Kept is a layer that the store had.
	Kept Outcome = "kept"
	// Identified is a layer that the store had without an identity, as those
	// of the original are: it got the identity of the file as it is.
	Identified Outcome = "identified"
)

// Publish puts the images into the store and then, all at once, their tags
// into the tag file. When it fails or is killed, the tag file is as it was.
func (c *Converter) Publish(ctx context.Context, requests []Request) (*Report, error) {
	for _, r := range requests {
		if err := r.validate(); err != nil {
			return nil, err
		}
	}
	if err := c.checkStore(ctx); err != nil {
		return nil, err
	}
	report := new(Report)
	for _, r := range requests {
		result, err := c.image(ctx, r)
		if err != nil {
			return report, err
		}
		report.Images = append(report.Images, *result)
	}
	warnings, err := c.tag(ctx, report.Images)
	report.Warnings = append(report.Warnings, warnings...)
	return report, err
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

// checkStore fails before any work where the store is not there: with its
// tag file, a store has everything that Bootstrap makes.
func (c *Converter) checkStore(ctx context.Context) error {
	_, err := c.Store.Stat(ctx, c.Options.TagFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no file %s: run with --bootstrap once", ErrNoStore, c.Store.URL(), c.Options.TagFile)
	}
	if errors.Is(err, imagestore.ErrUnavailable) {
		return fmt.Errorf("%w (--bootstrap makes a new store)", err)
	}
	return err
}

// layersAtOnce is how many layers of an image are converted side by side.
// Unpacking uses one CPU for each, mksquashfs the rest.
func layersAtOnce() int { return min(max(runtime.NumCPU()/2, 2), 8) }
