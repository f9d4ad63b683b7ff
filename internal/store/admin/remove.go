package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// Removal is what was deleted of an image.
type Removal struct {
	ManifestDigest digest.Digest `json:"manifestDigest"`
	// Tags are those that the image had.
	Tags []string `json:"tags,omitempty"`
	// Files were deleted, in this order; Bytes is the sum of their sizes.
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"`
}

// RemovalReport is what a removal did or, in a dry run, would do.
type RemovalReport struct {
	DryRun bool      `json:"dryRun,omitempty"`
	Images []Removal `json:"images"`
}

// RemoveImages deletes images, each named by one of its tags or its manifest
// digest: first all their tags, at once, then what no other image needs. Nodes
// that have an image's manifest and are about to fetch its layers will fail;
// RemoveTags and Cleanup give them time.
//
// An interrupted removal continues when it is repeated with the manifest digest.
func (c *Curator) RemoveImages(ctx context.Context, names []string) (*RemovalReport, error) {
	if c.DryRun {
		return c.planRemoval(ctx, names)
	}
	report := &RemovalReport{Images: []Removal{}}
	err := lease.Do(ctx, c.Store, c.waiting, func(l *lease.Lease) error {
		targets, err := c.untag(ctx, l, names)
		if err != nil {
			return err
		}
		// What another tool has tagged again since is not touched.
		inv, err := c.take(ctx)
		if err != nil {
			return err
		}
		for _, t := range targets {
			if again := inv.tags.Of(t.ManifestDigest); len(again) > 0 {
				return fmt.Errorf("image %s was tagged %s meanwhile: nothing is deleted", t.ManifestDigest, again)
			}
		}
		needed, err := inv.references(doomed(targets))
		if err != nil {
			return fmt.Errorf("%w (the tags are gone)", err)
		}
		for _, t := range targets {
			err := c.delete(ctx, l, removal(t.ManifestDigest, inv.manifests[t.ManifestDigest].manifest, needed), &t)
			report.Images = append(report.Images, t)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return report, err
}

// untag finds the images, checks that they can be deleted and removes their
// tags.
func (c *Curator) untag(ctx context.Context, l *lease.Lease, names []string) ([]Removal, error) {
	inv, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := inv.targets(names)
	if err != nil {
		return nil, err
	}
	if _, err := inv.references(doomed(targets)); err != nil {
		return nil, err
	}
	var dropped []string
	err = l.Act(ctx, func(ctx context.Context) error {
		dropped, err = c.tags().Update(ctx, func(tags *manifest.Tags) error {
			for i := range targets {
				targets[i].Tags = tags.Of(targets[i].ManifestDigest)
				for _, t := range targets[i].Tags {
					tags.Remove(t)
				}
			}
			return nil
		})
		return err
	})
	c.warnDropped(dropped)
	return targets, err
}

func doomed(targets []Removal) map[digest.Digest]bool {
	all := map[digest.Digest]bool{}
	for _, t := range targets {
		all[t.ManifestDigest] = true
	}
	return all
}

func (c *Curator) planRemoval(ctx context.Context, names []string) (*RemovalReport, error) {
	inv, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := inv.targets(names)
	if err != nil {
		return nil, err
	}
	needed, err := inv.references(doomed(targets))
	if err != nil {
		return nil, err
	}
	for i, t := range targets {
		targets[i].Tags = inv.tags.Of(t.ManifestDigest)
		if err := c.delete(ctx, nil, removal(t.ManifestDigest, inv.manifests[t.ManifestDigest].manifest, needed), &targets[i]); err != nil {
			return nil, err
		}
	}
	return &RemovalReport{DryRun: true, Images: targets}, nil
}

// targets finds the images that names mean, each once, sorted.
func (inv *inventory) targets(names []string) ([]Removal, error) {
	found := map[digest.Digest]bool{}
	for _, name := range names {
		d, ok := inv.tags.Lookup(name)
		if !ok {
			if d, ok = hashOf(name); !ok {
				return nil, fmt.Errorf("%w: %q is neither one of its tags nor a manifest hash of 64 lower-case hex digits", ErrUnknownImage, name)
			}
		}
		m, exists := inv.manifests[d]
		_, marked := inv.markers[d]
		if !exists && !marked && len(inv.tags.Of(d)) == 0 {
			return nil, fmt.Errorf("%w: it has no manifest %s", ErrUnknownImage, d)
		}
		if errors.Is(m.err, fs.ErrPermission) {
			return nil, fmt.Errorf("image %s: %w: only the owner of the store may remove it: run the command as that user", d, m.err)
		}
		found[d] = true
	}
	targets := make([]Removal, 0, len(found))
	for _, d := range slices.Sorted(maps.Keys(found)) {
		targets = append(targets, Removal{ManifestDigest: d, Files: []string{}})
	}
	return targets, nil
}

// delete deletes files one after the other, while the lock is held, and notes
// those that were there. In a dry run it only notes them.
func (c *Curator) delete(ctx context.Context, l *lease.Lease, files []string, done *Removal) error {
	for _, name := range files {
		info, err := c.Store.Stat(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("stat %s: %w", name, err)
		}
		if !c.DryRun {
			err := l.Act(ctx, func(ctx context.Context) error { return c.Store.Remove(ctx, name) })
			if err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			c.Log.Debug("removed", "file", name)
		}
		done.Files = append(done.Files, name)
		done.Bytes += info.Size
	}
	return nil
}

// mark writes the marker of an image; its time begins anew.
func (c *Curator) mark(ctx context.Context, d digest.Digest) error {
	name := publish.MarkerFile(d)
	up, err := c.Store.Create(ctx, name, store.CreateOptions{Replication: c.Replication})
	if err != nil {
		return fmt.Errorf("mark %s: %w", d, err)
	}
	defer up.Abort()
	if err := up.Commit(); err != nil {
		return fmt.Errorf("mark %s: %w", d, err)
	}
	return nil
}
