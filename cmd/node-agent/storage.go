package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/diskusage"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/rootfs"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// newStorage returns what measures the workers of an engine, and ends those that take up
// more of the disks than they may.
func newStorage(e *engine.Engine, c *configuration, tree *cgroup.Tree, log *slog.Logger) *diskusage.Watcher {
	return diskusage.NewWatcher(diskusage.Options{
		Workers:  func(ctx context.Context) []diskusage.Worker { return measurable(ctx, e, c.watcher.Current(), tree) },
		Exceeded: func(w diskusage.Worker, why string) { e.EndExceeded(w.UID, w.StartedAt, why) },
		Log:      log,
	})
}

// inspectLimit is how long a runtime may take to say where a worker is.
const inspectLimit = 2 * time.Second

// measurable returns the workers that run and have a limit. Those of a runtime that does not
// answer are left out, so that they do not hold up the others.
func measurable(ctx context.Context, e *engine.Engine, conf *config.Config, tree *cgroup.Tree) []diskusage.Worker {
	var all []diskusage.Worker
	silent := map[worker.Runtime]bool{}
	for _, s := range e.States() {
		if s.Phase != engine.Running || silent[s.Runtime] {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, inspectLimit)
		spec, info, err := e.Inspect(limited, s.UID)
		cancel()
		if err != nil {
			silent[s.Runtime] = !errors.Is(err, runtime.ErrNotFound)
			continue
		}
		limit := diskusage.LimitOf(storageLimit(conf.Worker, spec))
		if limit == (diskusage.Usage{}) {
			continue
		}
		all = append(all, diskusage.Worker{
			UID: s.UID, StartedAt: s.StartedAt, Limit: limit,
			Places: placesOf(conf.Node, spec, info.Storage),
			Pids:   func() (map[int]bool, error) { return tree.Members(info.Cgroup) },
		})
	}
	return all
}

// storageLimit is what a worker may take up, in bytes: 0 is all that there is.
func storageLimit(conf config.Worker, w worker.Spec) int64 {
	limit := w.StorageBytes
	if limit == 0 {
		limit = conf.StorageDefaultBytes
	}
	if most := conf.StorageMaxBytes; most > 0 && (limit == 0 || limit > most) {
		limit = most
	}
	return limit
}

// placesOf returns all directories on the node's disks that a worker writes to, or that
// grow with what it writes.
func placesOf(n config.Node, w worker.Spec, others []string) []diskusage.Place {
	paths := ocispec.PathsOf(n, w)
	places := []diskusage.Place{
		{Name: "its directory", Path: paths.Worker},
		{Name: "/tmp", Path: paths.Tmp},
		{Name: "its artifacts", Path: paths.Artifacts},
		{Name: "what its topology shares", Path: paths.Shared},
		{Name: "its log", Path: filepath.Join(n.LogDir, w.ContainerID())},
		{Name: "its root", Path: rootfs.Upper(n.RunRoot, w.ContainerID())},
	}
	for _, dir := range others {
		places = append(places, diskusage.Place{Name: "its container", Path: dir})
	}
	return places
}
