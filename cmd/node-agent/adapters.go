package main

import (
	"context"
	"log/slog"

	"github.com/stormcell/stormcell/internal/bundle"
	"github.com/stormcell/stormcell/internal/engine"
	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/localizer"
	"github.com/stormcell/stormcell/internal/manifest"
	"github.com/stormcell/stormcell/internal/ocispec"
	"github.com/stormcell/stormcell/internal/stormconf"
	"github.com/stormcell/stormcell/internal/worker"
)

// images resolves on the node what the cluster says no more of: a worker is
// pinned to a manifest, and its tag may have moved on since.
type images struct {
	*localizer.Localizer
	store  imagestore.Reader
	verify imagestore.VerifyPolicy
}

var _ engine.Images = (*images)(nil)

// Localize implements engine.Images.
func (i *images) Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	if len(image.Layers) == 0 {
		resolved, err := imagestore.Resolve(ctx, i.store, image.Tag, image.ManifestDigest, i.verify)
		if err != nil {
			return nil, err
		}
		image = *resolved
	}
	return i.Localizer.Localize(ctx, owner, image, progress)
}

// bundles makes bundles by the configuration of the moment.
type bundles struct {
	current        func() *stormconf.Config
	users          bundle.Users
	group, runRoot string
}

var _ engine.Bundles = (*bundles)(nil)

func (b *bundles) builder() *bundle.Builder {
	conf := b.current()
	return bundle.New(bundle.Options{
		Users: b.users, Group: b.group, RunRoot: b.runRoot,
		Policy: ocispec.Policy{Node: conf.Node, Cgroup: conf.Cgroup, NUMA: conf.NUMA},
	})
}

// Prepare implements engine.Bundles.
func (b *bundles) Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (string, error) {
	return b.builder().Prepare(ctx, w, image, rootfs)
}

// Remove implements engine.Bundles.
func (b *bundles) Remove(ctx context.Context, w worker.Spec) error { return b.builder().Remove(ctx, w) }

// watcher follows the configuration as a part of the manager.
type watcher struct{ *stormconf.Watcher }

// Start implements manager.Runnable.
func (w *watcher) Start(ctx context.Context) error { return w.Run(ctx) }

// watch follows the configuration. Where things are on the node is fixed for
// the life of an agent: only a restart finds them at a new place.
func watch(path string, first *stormconf.Config, log *slog.Logger) *watcher {
	return &watcher{stormconf.NewWatcher(path, first, stormconf.WatchOptions{
		Reloaded: func(c *stormconf.Config, notes []string) {
			log.Info("configuration reloaded", "file", path)
			tell(log, notes)
			if places(c) != places(first) {
				log.Warn("configuration", "note", "the store, directories and cgroup parent change only when the node-agent is restarted")
			}
		},
		Failed: func(err error) { log.Error("configuration", "error", err) },
	})}
}

// places is where an agent keeps things.
func places(c *stormconf.Config) [8]string {
	return [...]string{
		c.Store.URL, string(c.Store.Verify), c.Cgroup.Root, c.Cgroup.Parent,
		c.Node.LocalDir, c.Node.ResourcesDir, c.Node.LogDir, c.Node.ArtifactsDir,
	}
}
