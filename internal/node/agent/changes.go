package agent

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stormcell/stormcell/internal/node/engine"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// requests is a source of reconcile requests. What is added before the
// controller has started is kept for it.
type requests struct {
	mu    sync.Mutex
	queue queue
	early []ctrl.Request
}

func (c *requests) add(name types.NamespacedName) {
	req := ctrl.Request{NamespacedName: name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue == nil {
		c.early = append(c.early, req)
		return
	}
	c.queue.Add(req)
}

// Start implements source.Source.
func (c *requests) Start(_ context.Context, q queue) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = q
	for _, req := range c.early {
		q.Add(req)
	}
	c.early = nil
	return nil
}

// Changes is a source of looks at workers, fed by the engine.
type Changes struct{ requests }

// Add asks for a look at the worker of s. It does not block.
func (c *Changes) Add(s engine.State) {
	c.add(types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
}

// String names the source in messages of the controller.
func (c *Changes) String() string { return "changes of the engine" }

// ProfileChanges is a source of looks at StormProfiles, fed by what has ended.
type ProfileChanges struct{ requests }

// String names the source in messages of the controller.
func (c *ProfileChanges) String() string { return "ends of profiles" }

// PrefetchChanges is a source of looks at this node's StormNode, fed by the
// prefetch queue.
type PrefetchChanges struct {
	requests
	// Node is the name of this node.
	Node string
}

// Add asks for a look. It does not block.
func (c *PrefetchChanges) Add() { c.add(types.NamespacedName{Name: c.Node}) }

// String names the source in messages of the controller.
func (c *PrefetchChanges) String() string { return "changes of the prefetch queue" }
