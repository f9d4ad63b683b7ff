package main

import (
	"context"
	"log/slog"

	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// images resolves on the node what the cluster says no more of: a worker is
// pinned to a manifest, and its tag may have moved on since.
type images struct {
	*localizer.Localizer
	store  store.Reader
	verify store.VerifyPolicy
}

var (
	_ engine.Images   = (*images)(nil)
	_ prefetch.Images = (*images)(nil)
)

// Localize implements engine.Images.
func (i *images) Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	image, err := i.resolve(ctx, image)
	if err != nil {
		return nil, err
	}
	return i.Localizer.Localize(ctx, owner, image, progress)
}

// LocalizeAhead implements prefetch.Images.
func (i *images) LocalizeAhead(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) error {
	image, err := i.resolve(ctx, image)
	if err != nil {
		return err
	}
	return i.Localizer.LocalizeAhead(ctx, owner, image, progress)
}

func (i *images) resolve(ctx context.Context, image manifest.Image) (manifest.Image, error) {
	if len(image.Layers) > 0 {
		return image, nil
	}
	resolved, err := store.Resolve(ctx, i.store, image.Tag, image.ManifestDigest, i.verify)
	if err != nil {
		return image, err
	}
	return *resolved, nil
}

// bundles makes bundles by the configuration of the moment.
type bundles struct {
	current func() *config.Config
	builder *bundle.Builder
}

var _ engine.Bundles = (*bundles)(nil)

func (b *bundles) now() *bundle.Builder { return b.builder.With(policy(b.current())) }

// Prepare implements engine.Bundles.
func (b *bundles) Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (string, error) {
	return b.now().Prepare(ctx, w, image, rootfs)
}

// Remove implements engine.Bundles.
func (b *bundles) Remove(ctx context.Context, w worker.Spec) error { return b.now().Remove(ctx, w) }

// Recover implements engine.Bundles.
func (b *bundles) Recover(ctx context.Context, known []worker.Spec) ([]string, error) {
	return b.now().Recover(ctx, known)
}

// Sweep implements engine.Bundles.
func (b *bundles) Sweep(ctx context.Context, id string) error { return b.now().Sweep(ctx, id) }

func policy(c *config.Config) ocispec.Policy {
	return ocispec.Policy{Node: c.Node, Cgroup: c.Cgroup, NUMA: c.NUMA}
}

// watcher follows the configuration as a part of the manager.
type watcher struct {
	*config.Watcher
	first *config.Config
}

// Start implements manager.Runnable.
func (w *watcher) Start(ctx context.Context) error { return w.Run(ctx) }

// Current is the configuration of the moment, with everything in its place:
// where things are on the node is fixed for the life of an agent, since what
// runs was put there and must be found again.
func (w *watcher) Current() *config.Config {
	c := *w.Watcher.Current()
	placesOf(w.first).apply(&c)
	return &c
}

// watch follows the configuration.
func watch(path string, first *config.Config, log *slog.Logger) *watcher {
	return &watcher{first: first, Watcher: config.NewWatcher(path, first, config.WatchOptions{
		Accept: func(c *config.Config) error { return checkProfile(c.Node.SeccompProfile, log) },
		Reloaded: func(c *config.Config, notes []string) {
			log.Info("configuration reloaded", "file", path)
			daemon.Tell(log, notes)
			if placesOf(c) != placesOf(first) {
				log.Warn("configuration", "note", "the store, the directories, the cgroup parent, and the limits of cache, logs and kept mounts change only when the node-agent is restarted")
			}
		},
		Failed: func(err error) { log.Error("configuration", "error", err) },
	})}
}

// places are the parts of a configuration that are fixed while an agent runs.
// The run root is among them, and is not compared, since the launcher's
// configuration may have the last word on it.
type places struct {
	store                                    config.Store
	cgroupRoot, cgroupParent                 string
	dockerSocket                             string
	localDir, artifactsDir, cacheDir, logDir string
	cacheBytes, logBytes                     int64
	keepMounts                               int
	diskHigh, diskLow                        int
}

func placesOf(c *config.Config) places {
	n := c.Node
	return places{
		store: c.Store, cgroupRoot: c.Cgroup.Root, cgroupParent: c.Cgroup.Parent,
		dockerSocket: c.Docker.Socket,
		localDir:     n.LocalDir, artifactsDir: n.ArtifactsDir, cacheDir: n.ResourcesDir, logDir: n.LogDir,
		cacheBytes: n.CacheBytes, logBytes: n.LogBytes, keepMounts: n.LayerMountsToKeep,
		diskHigh: n.DiskHighPercent, diskLow: n.DiskLowPercent,
	}
}

func (p places) apply(c *config.Config) {
	c.Store, c.Cgroup.Root, c.Cgroup.Parent = p.store, p.cgroupRoot, p.cgroupParent
	c.Docker.Socket = p.dockerSocket
	n := &c.Node
	n.LocalDir, n.ArtifactsDir, n.ResourcesDir, n.LogDir = p.localDir, p.artifactsDir, p.cacheDir, p.logDir
	n.CacheBytes, n.LogBytes, n.LayerMountsToKeep = p.cacheBytes, p.logBytes, p.keepMounts
	n.DiskHighPercent, n.DiskLowPercent = p.diskHigh, p.diskLow
}
