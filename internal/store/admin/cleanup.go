package admin

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// CleanupOptions say how much a cleanup does.
type CleanupOptions struct {
	// Transition is how long an image stays stale, and then dead.
	Transition time.Duration
	// Unreferenced also deletes layers and configs that no manifest names and
	// that are older than Transition.
	Unreferenced bool
}

// Step is what a cleanup did for an image.
type Step struct {
	// State is that at the start of the run.
	State  State  `json:"state"`
	Action Action `json:"action"`
	// Due is when the next step is to be done, if it waits for a time.
	Due *time.Time `json:"due,omitempty"`
	Removal
}

// CleanupReport is what a cleanup did or, in a dry run, would do.
type CleanupReport struct {
	DryRun bool `json:"dryRun,omitempty"`
	// Images have one step each, sorted by digest.
	Images []Step `json:"images"`
	// Unreferenced are layers and configs that no manifest names.
	Unreferenced *Removal `json:"unreferenced,omitempty"`
}

// Cleanup moves each image one step on in its life, as it is at the start.
func (c *Curator) Cleanup(ctx context.Context, opts CleanupOptions) (*CleanupReport, error) {
	report := &CleanupReport{DryRun: c.DryRun, Images: []Step{}}
	if c.DryRun {
		// Nothing is written, not even to learn the time of the store.
		return report, c.cleanup(ctx, nil, time.Now(), opts, report)
	}
	err := lease.Do(ctx, c.Store, c.waiting, func(l *lease.Lease) error {
		return c.cleanup(ctx, l, l.Now(), opts, report)
	})
	return report, err
}

func (c *Curator) cleanup(ctx context.Context, l *lease.Lease, now time.Time, opts CleanupOptions, report *CleanupReport) error {
	inv, err := c.take(ctx)
	if err != nil {
		return err
	}
	c.warn(inv.tagErrors)
	report.Images = inv.steps(c.DeadMode, now, opts.Transition)
	doomed := map[digest.Digest]bool{}
	for i := range report.Images {
		s := &report.Images[i]
		if s.Action == Delete {
			doomed[s.ManifestDigest] = true
			continue
		}
		if err := c.step(ctx, l, s); err != nil {
			return err
		}
	}
	if len(doomed) == 0 && !opts.Unreferenced {
		return nil
	}
	// Only deletion needs to know every manifest.
	needed, err := inv.references(doomed)
	if err != nil {
		return err
	}
	for i := range report.Images {
		s := &report.Images[i]
		if s.Action != Delete {
			continue
		}
		m := inv.manifests[s.ManifestDigest]
		if m.err != nil {
			c.Log.Warn("the layers of an image that is deleted are not known; \"cleanup --unreferenced\" deletes them", "manifest", s.ManifestDigest, "problem", m.err)
		}
		if err := c.delete(ctx, l, removal(s.ManifestDigest, m.manifest, needed), &s.Removal); err != nil {
			return err
		}
	}
	if !opts.Unreferenced {
		return nil
	}
	return c.sweep(ctx, l, needed, now.Add(-opts.Transition), report)
}

// steps decides for every image and every marker.
func (inv *inventory) steps(dead fs.FileMode, now time.Time, transition time.Duration) []Step {
	all := map[digest.Digest]bool{}
	for d := range inv.manifests {
		all[d] = true
	}
	for d := range inv.markers {
		all[d] = true
	}
	steps := make([]Step, 0, len(all))
	for _, d := range slices.Sorted(maps.Keys(all)) {
		seen := inv.sight(d)
		s := Step{State: seen.state(dead), Removal: Removal{ManifestDigest: d, Tags: inv.tags.Of(d), Files: []string{}}}
		var due time.Time
		if s.Action, due = seen.next(dead, now, transition); !due.IsZero() {
			s.Due = &due
		}
		steps = append(steps, s)
	}
	return steps
}

// step does one step that deletes no image.
func (c *Curator) step(ctx context.Context, l *lease.Lease, s *Step) error {
	if s.Action == Keep || (c.DryRun && s.Action != Unmark) {
		return nil
	}
	d := s.ManifestDigest
	act := func(change func(context.Context) error) error {
		if err := l.Act(ctx, change); err != nil {
			return fmt.Errorf("%s image %s: %w", s.Action, d, err)
		}
		return nil
	}
	switch s.Action {
	case Mark:
		return act(func(ctx context.Context) error { return c.mark(ctx, d) })
	case Kill:
		// The marker first: cut short after it, the image only stays stale for
		// as long again, and is not deleted at once by the next run.
		return act(func(ctx context.Context) error {
			if err := c.mark(ctx, d); err != nil {
				return err
			}
			return c.Store.Chmod(ctx, manifest.ManifestFile(d), c.DeadMode)
		})
	case Revive:
		return act(func(ctx context.Context) error {
			if err := c.Store.Chmod(ctx, manifest.ManifestFile(d), publish.LiveMode); err != nil {
				return err
			}
			return c.Store.Remove(ctx, publish.MarkerFile(d))
		})
	case Unmark:
		return c.delete(ctx, l, []string{publish.MarkerFile(d)}, &s.Removal)
	case Keep, Delete:
	}
	return nil
}

// sweep deletes what no manifest needs and what is older than limit: what is
// younger may belong to an image whose manifest is still to come.
func (c *Curator) sweep(ctx context.Context, l *lease.Lease, needed references, limit time.Time, report *CleanupReport) error {
	var files []string
	for _, dir := range []string{manifest.LayersDir, manifest.ConfigDir} {
		entries, err := c.list(ctx, dir)
		if err != nil {
			return err
		}
		files = append(files, unneeded(dir, entries, needed, limit)...)
	}
	report.Unreferenced = &Removal{Files: []string{}}
	return c.delete(ctx, l, files, report.Unreferenced)
}

// unneeded picks the files of a folder that are named by digests that are not
// needed, and older than limit.
func unneeded(dir string, entries []store.Entry, needed references, limit time.Time) []string {
	var files []string
	for _, e := range entries {
		hash, _, _ := strings.Cut(e.Name, ".")
		d := digest.NewDigestFromEncoded(digest.SHA256, hash)
		known := e.Name == hash && dir == manifest.ConfigDir ||
			dir+"/"+e.Name == manifest.LayerFile(d) || dir+"/"+e.Name == manifest.IdentityFile(d)
		if known && manifest.ValidateDigest(d) == nil && !needed[d] && e.ModTime.Before(limit) {
			files = append(files, dir+"/"+e.Name)
		}
	}
	return files
}
