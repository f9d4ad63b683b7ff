package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/diskusage"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/metrics"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/rootfs"
)

// nodeMetrics are what the node-agent tells Prometheus of its own.
type nodeMetrics struct {
	events *metrics.Events
	state  *metrics.Node
}

// newState tells what is so of the parts.
func newState(
	conf *config.Config, e *engine.Engine, usage func(ctx context.Context, uid string) (cgroup.Usage, error),
	storage *diskusage.Watcher, l *localizer.Localizer, r *rootfs.Manager, ahead *prefetch.Queue, taken func() map[string]bool,
) *metrics.Node {
	return metrics.NewNode(metrics.Sources{
		Workers:    e.States,
		Usage:      func(ctx context.Context, w engine.State) (cgroup.Usage, error) { return usage(ctx, w.UID) },
		Storage:    func(w engine.State) (diskusage.Sample, bool) { return storage.Usage(w.UID) },
		CacheBytes: l.Size, CacheLimit: conf.Node.CacheBytes, MountedLayers: r.Mounted, Prefetch: ahead.States,
		PortsTaken: taken,
	})
}

// register has them served.
func (m *nodeMetrics) register() error {
	registry, err := daemon.Metrics("node-agent", version)
	if err != nil {
		return err
	}
	if err := errors.Join(registry.Register(m.events), registry.Register(m.state)); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
