package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// Tagging gives an image of the store more tags.
type Tagging struct {
	// Image is a manifest hash, a tag of the store, or the name of an image
	// elsewhere that the store has under its digest.
	Image string
	Tags  []string
}

// Lookup finds the manifest digest of an image elsewhere.
type Lookup func(ctx context.Context, image string) (digest.Digest, error)

// TagChange is which tags were set or removed.
type TagChange struct {
	DryRun bool          `json:"dryRun,omitempty"`
	Images []TaggedImage `json:"images"`
}

// TaggedImage is an image and the tags that it got or lost.
type TaggedImage struct {
	// Image is what the caller called it.
	Image          string        `json:"image,omitempty"`
	ManifestDigest digest.Digest `json:"manifestDigest"`
	Tags           []string      `json:"tags"`
}

// AddTags gives tags to images that are whole in the store, all at once. One
// that was stale or dead is as good as new afterwards.
func (c *Curator) AddTags(ctx context.Context, taggings []Tagging, lookup Lookup) (*TagChange, error) {
	tags, warnings, err := c.tags().Read(ctx)
	if err != nil {
		return nil, err
	}
	change := &TagChange{DryRun: c.DryRun, Images: []TaggedImage{}}
	var images []publish.Result
	for _, t := range taggings {
		if err := wellFormed(t.Tags); err != nil {
			return nil, fmt.Errorf("image %s: %w", t.Image, err)
		}
		d, err := find(ctx, t.Image, tags, lookup)
		if err != nil {
			return nil, err
		}
		// The lock is not needed to say what is missing.
		if _, err := store.Resolve(ctx, c.Store, t.Image, d, store.VerifyIfPresent); err != nil {
			return nil, fmt.Errorf("image %s is incomplete in the store (%w): push it with pull-build-push-update", t.Image, err)
		}
		images = append(images, publish.Result{Image: t.Image, ManifestDigest: d, Tags: t.Tags, Comments: []string{t.Image}})
		change.Images = append(change.Images, TaggedImage{Image: t.Image, ManifestDigest: d, Tags: t.Tags})
	}
	if c.DryRun {
		c.warn(warnings)
		return change, nil
	}
	dropped, err := c.publisher().Tag(ctx, images)
	c.warnDropped(dropped)
	return change, err
}

func find(ctx context.Context, image string, tags *manifest.Tags, lookup Lookup) (digest.Digest, error) {
	if d, ok := hashOf(image); ok {
		return d, nil
	}
	if d, ok := tags.Lookup(image); ok {
		return d, nil
	}
	d, err := lookup(ctx, image)
	if err != nil {
		return "", fmt.Errorf("%q is no tag of the store, and as an image elsewhere: %w", image, err)
	}
	return d, nil
}

// wellFormed checks new tags: workers must be able to ask for them.
func wellFormed(tags []string) error {
	if len(tags) == 0 {
		return fmt.Errorf("%w: no tag: write IMAGE,TAG", ErrBadRequest)
	}
	for _, t := range tags {
		if !allowlist.WellFormed(t) {
			return fmt.Errorf("%w: tag %q: write [REGISTRY/]NAME[:TAG]", ErrBadRequest, t)
		}
	}
	return nil
}

// RemoveTags drops tags, all at once; the images stay. A tag that the store
// does not have is an error, and then none is dropped.
func (c *Curator) RemoveTags(ctx context.Context, names []string) (*TagChange, error) {
	var change *TagChange
	drop := func(tags *manifest.Tags) error {
		change = &TagChange{DryRun: c.DryRun, Images: []TaggedImage{}}
		lost := map[digest.Digest][]string{}
		for _, name := range names {
			d, ok := tags.Lookup(name)
			if !ok {
				return fmt.Errorf("%w: it has no tag %q", ErrUnknownImage, name)
			}
			lost[d] = append(lost[d], name)
		}
		for d, names := range lost {
			for _, name := range names {
				tags.Remove(name)
			}
			slices.Sort(names)
			change.Images = append(change.Images, TaggedImage{ManifestDigest: d, Tags: slices.Compact(names)})
		}
		slices.SortFunc(change.Images, func(a, b TaggedImage) int { return slices.Compare(a.Tags, b.Tags) })
		return nil
	}
	if err := c.tags().Check(ctx); err != nil {
		return nil, err
	}
	if c.DryRun {
		tags, _, err := c.tags().Read(ctx)
		if err == nil {
			err = drop(tags)
		}
		return change, err
	}
	dropped, err := c.tags().Update(ctx, drop)
	c.warnDropped(dropped)
	return change, err
}

// Query describes images of the store by their tags, whole or not at all.
func (c *Curator) Query(ctx context.Context, names []string) ([]manifest.Image, error) {
	tags, warnings, err := c.tags().Read(ctx)
	if err != nil {
		return nil, err
	}
	c.warn(warnings)
	images := make([]manifest.Image, 0, len(names))
	for _, name := range names {
		d, ok := tags.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("%w: it has no tag %q", ErrUnknownImage, name)
		}
		image, err := store.Resolve(ctx, c.Store, name, d, store.VerifyIfPresent)
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", name, err)
		}
		images = append(images, *image)
	}
	return images, nil
}
