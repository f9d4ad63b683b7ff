package publish

import (
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Report is the outcome for images that were put into a store.
type Report struct {
	// DryRun is true if the report is of what would be done.
	DryRun bool     `json:"dryRun,omitempty"`
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
	// Comments go into the tag file.
	Comments []string `json:"-"`
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
	// Copied is a layer of another store, verified on its way.
	Copied Outcome = "copied"
	// Unverified is a layer of another store that has no identity there: what
	// arrived got the identity of what it is.
	Unverified Outcome = "copied unverified"
)

// Progress receives the progress of layers. Its methods are called from several
// goroutines.
type Progress interface {
	// Begin announces a layer of size bytes that will be read.
	Begin(layer digest.Digest, size int64)
	// Advance reports that n more bytes have been read. n is negative if a layer
	// has to be read again.
	Advance(layer digest.Digest, n int64)
	// End reports the outcome of a layer: done, or ended by an error.
	End(layer digest.Digest, done bool)
}
