// Package requests feeds controllers with requests that come from elsewhere than
// a watch: another controller, or a part that knows no Kubernetes.
package requests

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Queue is the work queue of a controller.
type Queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Source is a source of requests for one controller. What is added before that
// has started is kept for it, once for each object.
type Source struct {
	mu    sync.Mutex
	queue Queue // nil until the start
	early sets.Set[ctrl.Request]
}

// Add asks for a look at objects. It does not block.
func (s *Source) Add(requests ...ctrl.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		if s.early == nil {
			s.early = sets.New[ctrl.Request]()
		}
		s.early.Insert(requests...)
		return
	}
	for _, r := range requests {
		s.queue.Add(r)
	}
}

// Start implements source.Source.
func (s *Source) Start(_ context.Context, queue Queue) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = queue
	for r := range s.early {
		queue.Add(r)
	}
	s.early = nil
	return nil
}

// String names the source in messages of the controller.
func (s *Source) String() string { return "requests from elsewhere" }
