package controllers

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testCache(nodes ...string) (*schedulerCache, *clocktesting.FakePassiveClock) {
	c := clocktesting.NewFakePassiveClock(noon)
	b := newSchedulerCache(time.Minute, c)
	for _, n := range nodes {
		b.setNode(n, nodeFacts{ready: true})
		b.recordHeartbeat(n, noon)
	}
	return b, c
}

func withUID(w *api.StormWorker) *api.StormWorker {
	w.UID = types.UID(w.Name)
	return w
}

func TestSchedulerCacheKeepsAnAssignment(t *testing.T) {
	b, _ := testCache("n1", "n2")
	w := withUID(newWorker("w", "", 6700))
	first, failure := b.place(w, api.RuntimeRunc)
	if failure.reason != "" {
		t.Fatal(failure)
	}
	b.setWorker(w) // the cache still says unbound
	if again, _ := b.place(w, api.RuntimeRunc); again != first {
		t.Errorf("placed on %s, then on %s", first, again)
	}
	other := onNode(withUID(newWorker("other", "", 6700)), first)
	if _, failure := b.place(other, api.RuntimeRunc); failure.reason != api.ReasonPortInUse {
		t.Errorf("a port was given twice: %+v", failure)
	}
	b.removeWorker(w.UID)
	if node, failure := b.place(other, api.RuntimeRunc); node != first {
		t.Errorf("the port is not free again: %+v", failure)
	}
}

func TestSchedulerCacheLeavesADeletedNode(t *testing.T) {
	b, _ := testCache("n1")
	w := withUID(newWorker("w", "", 6700))
	b.place(w, api.RuntimeRunc)
	b.removeNode("n1")
	if node, failure := b.place(w, api.RuntimeRunc); failure.reason != api.ReasonNoNodeFits {
		t.Errorf("placed on %q", node)
	}
	b.setNode("n2", nodeFacts{ready: true})
	b.recordHeartbeat("n2", noon)
	if node, _ := b.place(w, api.RuntimeRunc); node != "n2" {
		t.Errorf("placed on %q, want n2", node)
	}
}

func TestSchedulerCachePrunes(t *testing.T) {
	b, _ := testCache("n1")
	w := withUID(newWorker("w", "", 6700))
	b.place(w, api.RuntimeRunc)
	b.removeNode("n1")
	b.removeHeartbeat("n1")
	b.removeWorker(w.UID)
	if len(b.nodes) != 0 || len(b.assignments) != 0 || len(b.pods) != 0 || len(b.unschedulable) != 0 {
		t.Errorf("left behind: %v %v", b.nodes, b.assignments)
	}
}

func TestSchedulerCacheSpreads(t *testing.T) {
	b, _ := testCache("n1", "n2", "n3")
	count := map[string]int{}
	for n := range 9 {
		w := withUID(newWorker(fmt.Sprintf("w%d", n), "", int32(6700+n)))
		node, _ := b.place(w, api.RuntimeRunc)
		count[node]++
	}
	for node, n := range count {
		if n != 3 {
			t.Errorf("%d workers on %s, want 3", n, node)
		}
	}
}

// TestSchedulerCacheResources: workers and pods use up resources; a worker for
// which none are left is activated when some are free again.
func TestSchedulerCacheResources(t *testing.T) {
	b, _ := testCache()
	b.setNode("n1", nodeFacts{ready: true, allocatable: resources{cpu: 4000, memory: 4 << 30}})
	b.recordHeartbeat("n1", noon)
	big := func(name string, port int32) *api.StormWorker {
		return limited(withUID(newWorker(name, "", port)), "1", "2Gi")
	}
	first, second, third := big("first", 6700), big("second", 6701), big("third", 6702)
	for _, w := range []*api.StormWorker{first, second} {
		if node, failure := b.place(w, api.RuntimeRunc); node != "n1" {
			t.Fatalf("%s: %+v", w.Name, failure)
		}
	}
	if _, failure := b.place(third, api.RuntimeRunc); !failure.insufficient || !strings.Contains(failure.message, "less free memory than 2Gi") {
		t.Errorf("no memory is left: %+v", failure)
	}
	if node, _ := b.place(withUID(newWorker("small", "", 6703)), api.RuntimeRunc); node != "n1" {
		t.Error("a worker without limits requests nothing")
	}
	if activated := b.removeWorker(first.UID).activated; len(activated) != 1 || activated[0].Name != "third" {
		t.Errorf("activated %v", activated)
	}
	b.setPod("p", "n1", resources{memory: 1})
	if _, failure := b.place(third, api.RuntimeRunc); !failure.insufficient {
		t.Error("the pod's memory was given away")
	}
	if activated := b.setPod("p", "n1", resources{cpu: 3001}); len(activated) != 1 {
		t.Errorf("the pod became smaller: activated %v", activated)
	}
	if _, failure := b.place(third, api.RuntimeRunc); !failure.insufficient || !strings.Contains(failure.message, "less free CPU than 1") {
		t.Errorf("no CPU is left: %+v", failure)
	}
	if activated := b.removePod("p"); len(activated) != 1 {
		t.Errorf("activated %v", activated)
	}
	if node, failure := b.place(third, api.RuntimeRunc); node != "n1" {
		t.Errorf("the resources are not free again: %+v", failure)
	}
	if activated := b.removeWorker(second.UID).activated; activated != nil {
		t.Errorf("no worker waits, and %v were activated", activated)
	}
}

func limited(w *api.StormWorker, cpu, memory string) *api.StormWorker {
	w.Spec.Resources.Limits.CPU, w.Spec.Resources.Limits.Memory = new(apiresource.MustParse(cpu)), new(apiresource.MustParse(memory))
	return w
}

// TestSchedulerCacheTwoOfOnePort: two bound workers with one port, which only an older
// manager can have made, do not confuse the assignments when one goes.
func TestSchedulerCacheTwoOfOnePort(t *testing.T) {
	b, _ := testCache("n1")
	first, second := withUID(newWorker("first", "", 6700)), withUID(newWorker("second", "", 6700))
	first.Status.NodeName, second.Status.NodeName = "n1", "n1"
	b.setWorker(first)
	b.setWorker(second)
	b.removeWorker(second.UID)
	if _, failure := b.place(withUID(newWorker("third", "", 6700)), api.RuntimeRunc); failure.reason == "" {
		t.Error("the port of the first was given away")
	}
}

func TestSchedulerCacheRace(t *testing.T) {
	b, _ := testCache("n1", "n2", "n3")
	var wg sync.WaitGroup
	placed := make(chan string, 100)
	for n := range 100 {
		wg.Go(func() {
			if node, failure := b.place(withUID(newWorker(strconv.Itoa(n), "", 6700)), api.RuntimeRunc); failure.reason == "" {
				placed <- node
			}
		})
	}
	wg.Wait()
	close(placed)
	seen := map[string]bool{}
	for node := range placed {
		if seen[node] {
			t.Errorf("port 6700 of %s was given twice", node)
		}
		seen[node] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d nodes used, want 3", len(seen))
	}
}

// TestSchedulerCacheKnowsRuntimes: nobody lacks Runc, and what an agent reports holds
// until it reports something else.
func TestSchedulerCacheKnowsRuntimes(t *testing.T) {
	b, _ := testCache("n1", "n2")
	unnamed, named := withUID(newWorker("any", "", 6700)), onNode(withUID(newWorker("named", "", 6701)), "n2")
	for _, step := range []struct {
		runtimes []api.Runtime
		changed  bool
		fits     bool
	}{
		{nil, false, false},
		{[]api.Runtime{api.RuntimeRunc}, true, false},
		{[]api.Runtime{api.RuntimeDocker, api.RuntimeRunc}, true, true},
		{[]api.Runtime{api.RuntimeDocker, api.RuntimeRunc}, false, true},
		{[]api.Runtime{api.RuntimeRunc}, true, false},
	} {
		if changed := b.setRuntimes("n2", step.runtimes); changed != step.changed {
			t.Errorf("%v: changed %v", step.runtimes, changed)
		}
		for w, reason := range map[*api.StormWorker]string{unnamed: api.ReasonNoNodeFits, named: api.ReasonRuntimeMissing} {
			node, failure := b.place(w, api.RuntimeDocker)
			if step.fits != (node == "n2") || !step.fits && failure.reason != reason {
				t.Errorf("%v: %s on %q, %+v", step.runtimes, w.Name, node, failure)
			}
			b.removeWorker(w.UID)
			if node, failure := b.place(w, api.RuntimeRunc); node == "" {
				t.Errorf("%v: Runc: %+v", step.runtimes, failure)
			}
			b.removeWorker(w.UID)
		}
	}
}

// BenchmarkPlace places workers on 1,000 nodes that have 50 each.
func BenchmarkPlace(b *testing.B) {
	const nodes, workers = 1000, 50
	names := make([]string, nodes)
	for n := range nodes {
		names[n] = fmt.Sprintf("n%d", n)
	}
	cache, _ := testCache(names...)
	for n := range nodes * workers {
		w := onNode(withUID(newWorker(strconv.Itoa(n), "", int32(6700+n/nodes))), names[n%nodes])
		cache.place(w, api.RuntimeRunc)
	}
	w := withUID(newWorker("next", "", 7000))
	b.ReportAllocs()
	for b.Loop() {
		if _, failure := cache.place(w, api.RuntimeRunc); failure.reason != "" {
			b.Fatal(failure)
		}
		cache.removeWorker(w.UID)
	}
}
