package nodeagent

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stormcell/stormcell/internal/engine"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Changes is a source of reconcile requests, fed by the engine. What is added
// before the controller has started is kept for it.
type Changes struct {
	mu    sync.Mutex
	queue queue
	early []ctrl.Request
}

// Add asks for a look at the worker of s. It does not block.
func (c *Changes) Add(s engine.State) {
	req := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Name}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue == nil {
		c.early = append(c.early, req)
		return
	}
	c.queue.Add(req)
}

// Start implements source.Source.
func (c *Changes) Start(_ context.Context, q queue) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = q
	for _, req := range c.early {
		q.Add(req)
	}
	c.early = nil
	return nil
}

// String names the source in messages of the controller.
func (c *Changes) String() string { return "changes of the engine" }
