package nodeagent

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stormcell/stormcell/internal/engine"
)

// passingDelay is how long a passing phase must last to be reported: a warm
// start goes through all of them in less, and needs the API server for none.
const passingDelay = 200 * time.Millisecond

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
	switch {
	case c.queue == nil:
		c.early = append(c.early, req)
	case passing(s.Phase):
		c.queue.AddAfter(req, passingDelay)
	default:
		c.queue.Add(req)
	}
}

func passing(p engine.Phase) bool {
	return p == engine.Localizing || p == engine.Mounting || p == engine.Starting
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
