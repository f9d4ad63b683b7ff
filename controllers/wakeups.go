package controllers

import (
	"context"
	"sync"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// wakeups is a source of requests for one controller, from the others.
type wakeups struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[ctrl.Request]
}

// Start implements source.Source.
func (s *wakeups) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = queue
	return nil
}

// String names the source in messages of the controller.
func (s *wakeups) String() string { return "wake-ups" }

// add enqueues objects. Before the start it does nothing: a controller starts by
// reconciling every object.
func (s *wakeups) add(requests ...ctrl.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return
	}
	for _, r := range requests {
		s.queue.Add(r)
	}
}

// changes enqueues every object when the configuration has changed.
type changes struct {
	client          client.Client
	source          <-chan struct{}
	images, workers *wakeups
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
	c.images.add(images...)
	c.workers.add(workers...)
	return nil
}
