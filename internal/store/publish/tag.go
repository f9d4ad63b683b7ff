package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// LiveMode is the mode of a manifest that nodes may read.
const LiveMode fs.FileMode = 0o444

// Tag sets the tags of the images, all at once, after it has checked that each image
// is complete in the store, as a node will. It restores an image that was about to be
// deleted. It returns the malformed lines of the old tag file, which the new one does
// not have.
//
// If a part of an image was deleted since it was put there, Vanished is true for the
// error, and no tag is set.
func (p *Publisher) Tag(ctx context.Context, images []Result) (warnings []string, err error) {
	err = lease.Do(ctx, p.Store, p.Waiting, func(l *lease.Lease) error {
		for _, image := range images {
			if err := p.check(ctx, image); err != nil {
				return err
			}
		}
		// If that took long, Act makes sure that nobody has taken the lock over.
		set := func(ctx context.Context) error {
			warnings, err = p.Tags().Update(ctx, func(tags *manifest.Tags) error { return setTags(tags, images) })
			return err
		}
		if err := l.Act(ctx, set); err != nil {
			return err
		}
		return p.unmark(ctx, images)
	})
	return warnings, err
}

// check sees an image whole, and lets nodes read its manifest.
func (p *Publisher) check(ctx context.Context, image Result) error {
	if _, err := store.Resolve(ctx, p.Store, image.Image, image.ManifestDigest, p.Policy); err != nil {
		return fmt.Errorf("image %s: it is incomplete in the store: %w", image.Image, err)
	}
	name := manifest.ManifestFile(image.ManifestDigest)
	info, err := p.Store.Stat(ctx, name)
	if err == nil && info.Mode != LiveMode {
		err = p.Store.Chmod(ctx, name, LiveMode)
	}
	if err != nil {
		return fmt.Errorf("let nodes read %s: %w", name, err)
	}
	return nil
}

// Vanished reports whether an error says that a part of an image is not in the store.
// The identity of a layer is a part, if identities are required.
func Vanished(err error) bool {
	for _, missing := range []error{
		store.ErrManifestMissing, store.ErrConfigMissing, store.ErrLayerMissing, store.ErrUnverifiable,
	} {
		if errors.Is(err, missing) {
			return true
		}
	}
	return false
}

func setTags(tags *manifest.Tags, images []Result) error {
	for _, image := range images {
		for _, t := range image.Tags {
			if err := tags.Set(t, image.ManifestDigest); err != nil {
				return err
			}
		}
		for _, comment := range image.Comments {
			tags.AddComment(image.ManifestDigest, comment)
		}
	}
	return nil
}

// unmark removes the notes that images have no tags. If that is cut short,
// the next cleanup does it.
func (p *Publisher) unmark(ctx context.Context, images []Result) error {
	for _, image := range images {
		if err := p.Store.Remove(ctx, MarkerFile(image.ManifestDigest)); err != nil {
			return fmt.Errorf("image %s has its tags, but the mark that it had none is still there: %w", image.Image, err)
		}
	}
	return nil
}

// MarkerFile names the file that marks the manifest d as untagged; its time is
// when that state began.
func MarkerFile(d digest.Digest) string { return manifest.UnreferencedDir + "/" + d.Encoded() }
