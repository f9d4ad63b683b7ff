package main

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/bundle"
)

// cleanup removes what workers have left on purpose, when it is old.
type cleanup struct {
	bundles *bundle.Builder
	node    config.Node
	log     *slog.Logger
}

// run looks at once and then in intervals, until ctx ends.
func (c *cleanup) run(ctx context.Context) error {
	if c.node.CleanupAge > 0 {
		wait.UntilWithContext(ctx, c.once, c.node.CleanupInterval)
	}
	return nil
}

func (c *cleanup) once(ctx context.Context) {
	removed, err := c.bundles.Cleanup(ctx, time.Now().Add(-c.node.CleanupAge))
	for _, path := range removed {
		c.log.Info("removed what a worker had left", "path", path, "unchanged for", c.node.CleanupAge, "key", "logviewer.cleanup.age.mins")
	}
	if err != nil {
		c.log.Warn("cannot remove all that workers have left", "error", err)
	}
}
