package controllers

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/stormcell/stormcell/internal/kube/requests"
)

// changes looks at every object again when the configuration has changed.
type changes struct {
	client          client.Client
	source          <-chan struct{}
	images, workers *requests.Source
}

// Start implements manager.Runnable.
func (c *changes) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.source:
		}
		if err := c.wakeAll(ctx); err != nil {
			return err
		}
	}
}

func (c *changes) wakeAll(ctx context.Context) error {
	images, err := imageRequests(ctx, c.client)
	if err != nil {
		return err
	}
	workers, err := workerRequests(ctx, c.client, anyWorker)
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("configuration changed", "images", len(images), "workers", len(workers))
	c.images.Add(images...)
	c.workers.Add(workers...)
	return nil
}
