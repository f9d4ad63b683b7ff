package controllers

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// placements is the number of workers whose way to a node was measured.
func placements(t *testing.T, m *clusterMetrics) uint64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.placement)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetHistogram().GetSampleCount()
}

// TestMetrics checks what a manager that leads tells of a cluster.
func TestMetrics(t *testing.T) {
	w := newWorld(t, "storm/a:1", "storm/absent:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	first, waits := newWorker("first", "", 6700), newWorker("waits", "storm/absent:1", 6701)
	w.create(first)
	w.create(waits)
	w.bound(first)
	w.report(first, metav1.ConditionTrue, api.ReasonRunning)
	w.hasCondition(waits, api.WorkerReady, metav1.ConditionFalse, api.ReasonImageNotResolved)
	const want = `
# HELP stormcell_cluster_images StormImages by the reason of their condition Ready; New if it has none yet.
# TYPE stormcell_cluster_images gauge
stormcell_cluster_images{reason="Resolved"} 1
stormcell_cluster_images{reason="TagNotFound"} 1
# HELP stormcell_cluster_nodes Nodes by their agent: live, silent (the node is lost), unproven or none.
# TYPE stormcell_cluster_nodes gauge
stormcell_cluster_nodes{agent="live"} 1
stormcell_cluster_nodes{agent="none"} 0
stormcell_cluster_nodes{agent="silent"} 0
stormcell_cluster_nodes{agent="unproven"} 0
# HELP stormcell_cluster_workers StormWorkers by the reason of their condition Ready; New if it has none yet.
# TYPE stormcell_cluster_workers gauge
stormcell_cluster_workers{reason="ImageNotResolved"} 1
stormcell_cluster_workers{reason="Running"} 1
`
	w.eventually(func() error { // the cache follows
		return testutil.GatherAndCompare(w.metrics, strings.NewReader(want), "stormcell_cluster_images", "stormcell_cluster_nodes", "stormcell_cluster_workers")
	})
	if n, err := testutil.GatherAndCount(w.metrics, "stormcell_worker_placement_duration_seconds"); err != nil || n != 1 {
		t.Errorf("placement: %d, %v", n, err)
	}
	problems, err := testutil.GatherAndLint(w.metrics)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestMetricsOfAFollower checks that a manager that does not lead tells nothing
// of the cluster: else each object would count twice.
func TestMetricsOfAFollower(t *testing.T) {
	b, _ := testCache("n1")
	m := newClusterMetrics(nil, b, make(chan struct{}))
	if n := testutil.CollectAndCount(m); n != 1 {
		t.Errorf("%d metrics, want only the time of placement", n)
	}
}
