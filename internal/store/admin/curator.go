// Package admin manages the images of a store: tags, copies, the life cycle of images
// without tags, deletion, and verification.
//
// Decisions are pure functions: states.go has the life cycle, references.go what is
// still needed, verdict.go what is wrong with a store. The rest reads the store and
// acts.
package admin

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

// Errors of requests and of stores.
var (
	// ErrUnknownImage is a tag or digest that the store does not have.
	ErrUnknownImage = errors.New("no such image in the store")
	// ErrUnknownReferences means that a manifest cannot be read, so it is not known which
	// files of the store are still needed.
	ErrUnknownReferences = errors.New("nothing is deleted while a manifest cannot be read, because its layers are not known")
	// ErrBadRequest is an argument that cannot be used.
	ErrBadRequest = errors.New("bad request")
)

// Curator looks after one store.
type Curator struct {
	Store store.Writer
	// TagFile is the name of the store's tag file.
	TagFile string
	// Replication is the number of copies in a distributed store; 0 is the
	// store's default.
	Replication int
	// DeadMode is the mode of the manifest of a dead image.
	DeadMode fs.FileMode
	// DryRun reports what would be done instead of doing it.
	DryRun bool
	// Progress receives each layer that is read.
	Progress publish.Progress
	Log      *slog.Logger
}

// DefaultDeadMode hides a manifest from all but the owner of the store.
const DefaultDeadMode fs.FileMode = 0o400

func (c *Curator) publisher() *publish.Publisher {
	return &publish.Publisher{
		Store:       c.Store,
		TagFile:     c.TagFile,
		Replication: c.Replication,
		Policy:      store.VerifyIfPresent,
		Waiting:     c.waiting,
	}
}

func (c *Curator) tags() tagfile.File { return c.publisher().Tags() }

func (c *Curator) waiting(holder string) {
	c.Log.Info("waiting for another user of the store", "store", c.Store.URL(), "holder", holder)
}

// warn logs lines of the tag file that could not be read.
func (c *Curator) warn(lines []string) {
	for _, l := range lines {
		c.Log.Warn("a line of the tag file cannot be read", "problem", l)
	}
}

// warnDropped logs lines that the new tag file does not have.
func (c *Curator) warnDropped(lines []string) {
	for _, l := range lines {
		c.Log.Warn("a line of the old tag file was dropped", "problem", l)
	}
}

// at most so many small files are read side by side.
const documentsAtOnce = 16

// hashOf reads a manifest digest as people write it: with or without sha256:.
func hashOf(s string) (digest.Digest, bool) {
	d := digest.Digest(s)
	if len(s) == digest.SHA256.Size()*2 {
		d = digest.NewDigestFromEncoded(digest.SHA256, s)
	}
	return d, d.Validate() == nil && d.Algorithm() == digest.SHA256
}

// List returns the tags of the store and what is wrong with its tag file.
func (c *Curator) List(ctx context.Context) (*Listing, error) {
	tags, warnings, err := c.tags().Read(ctx)
	if err != nil {
		return nil, err
	}
	c.warn(warnings)
	listing := &Listing{Store: c.Store.URL(), Tags: []Tag{}, Warnings: warnings, Content: string(tags.Format())}
	for _, t := range tags.All() {
		d, _ := tags.Lookup(t)
		listing.Tags = append(listing.Tags, Tag{Name: t, ManifestDigest: d, Comments: tags.Comments(d)})
	}
	return listing, nil
}

// Listing is what a tag file says.
type Listing struct {
	Store string `json:"store"`
	Tags  []Tag  `json:"tags"`
	// Warnings are lines that cannot be read.
	Warnings []string `json:"warnings,omitempty"`
	// Content is the tag file without such lines.
	Content string `json:"-"`
}

// Tag is a name of an image.
type Tag struct {
	Name           string        `json:"tag"`
	ManifestDigest digest.Digest `json:"manifestDigest"`
	// Comments say where the image came from.
	Comments []string `json:"comments,omitempty"`
}
