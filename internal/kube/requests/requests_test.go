package requests_test

import (
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/stormcell/stormcell/internal/kube/requests"
)

var _ source.Source = (*requests.Source)(nil)

func named(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "storm", Name: name}}
}

func newQueue(t *testing.T) requests.Queue {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	t.Cleanup(q.ShutDown)
	return q
}

// taken empties a queue.
func taken(q requests.Queue) map[ctrl.Request]int {
	got := map[ctrl.Request]int{}
	for q.Len() > 0 {
		r, _ := q.Get()
		q.Done(r)
		got[r]++
	}
	return got
}

// TestEarlyRequestsAreKept: what is added before the controller starts must not
// be lost, however late that is, and needs no more room than there are objects.
func TestEarlyRequestsAreKept(t *testing.T) {
	s := new(requests.Source)
	for range 3 {
		s.Add(named("a"), named("b"))
	}
	q := newQueue(t)
	if err := s.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if got := taken(q); len(got) != 2 || got[named("a")] != 1 || got[named("b")] != 1 {
		t.Errorf("after the start: %v, want a and b, once each", got)
	}
	s.Add(named("c"), named("a"))
	if got := taken(q); len(got) != 2 || got[named("c")] != 1 || got[named("a")] != 1 {
		t.Errorf("later: %v, want c and a", got)
	}
}

// TestAddWhileItStarts: whichever of the two comes first, the request is there.
func TestAddWhileItStarts(t *testing.T) {
	for range 200 {
		s, q := new(requests.Source), newQueue(t)
		var group sync.WaitGroup
		group.Go(func() { s.Add(named("a")) })
		group.Go(func() { _ = s.Start(t.Context(), q) })
		group.Wait()
		if got := taken(q); len(got) != 1 {
			t.Fatalf("%v, want a", got)
		}
	}
}
