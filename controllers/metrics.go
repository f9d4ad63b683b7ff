package controllers

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// scrapeLimit bounds how long a scrape may wait for the cache.
const scrapeLimit = 5 * time.Second

// clusterMetrics reports the current state of the cluster, as the leading manager's
// cache has it, and how long placement takes. The metrics of the reconcilers are
// controller-runtime's.
type clusterMetrics struct {
	objects client.Reader
	nodes   *schedulerCache
	// elected is closed once this manager leads: the caches of others are empty.
	elected   <-chan struct{}
	placement prometheus.Histogram
}

var _ prometheus.Collector = (*clusterMetrics)(nil)

var (
	clusterWorkers = prometheus.NewDesc("stormcell_cluster_workers", "StormWorkers by the reason of their condition Ready; New if it has none yet.", []string{"reason"}, nil)
	clusterImages  = prometheus.NewDesc("stormcell_cluster_images", "StormImages by the reason of their condition Ready; New if it has none yet.", []string{"reason"}, nil)
	clusterNodes   = prometheus.NewDesc("stormcell_cluster_nodes", "Nodes by their agent: live, silent (the node is lost), unproven or none.", []string{"agent"}, nil)
)

func newClusterMetrics(objects client.Reader, nodes *schedulerCache, elected <-chan struct{}) *clusterMetrics {
	return &clusterMetrics{
		objects: objects, nodes: nodes, elected: elected,
		placement: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stormcell_worker_placement_duration_seconds", Help: "Time from the creation of a StormWorker until it is bound to a node. The API server counts whole seconds.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 300, 900, 3600},
		}),
	}
}

// Describe implements prometheus.Collector.
func (m *clusterMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- clusterWorkers
	ch <- clusterImages
	ch <- clusterNodes
	m.placement.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *clusterMetrics) Collect(ch chan<- prometheus.Metric) {
	m.placement.Collect(ch)
	select {
	case <-m.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	m.collectReady(ctx, ch, clusterWorkers, new(api.StormWorkerList))
	m.collectReady(ctx, ch, clusterImages, new(api.StormImageList))
	agents := m.nodes.countAgents()
	for state, name := range agentStates {
		ch <- prometheus.MustNewConstMetric(clusterNodes, prometheus.GaugeValue, float64(agents[state]), name)
	}
}

// collectReady counts objects by the reason of their condition Ready. It reports
// nothing if the list fails, since 0 would be wrong.
func (m *clusterMetrics) collectReady(ctx context.Context, ch chan<- prometheus.Metric, desc *prometheus.Desc, list client.ObjectList) {
	if err := m.objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	reasons := map[string]int{}
	switch list := list.(type) {
	case *api.StormWorkerList:
		for i := range list.Items {
			reasons[condition.Reason(list.Items[i].Status.Conditions, api.WorkerReady)]++
		}
	case *api.StormImageList:
		for i := range list.Items {
			reasons[condition.Reason(list.Items[i].Status.Conditions, api.ImageReady)]++
		}
	}
	for reason, n := range reasons {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), cmp.Or(reason, "New"))
	}
}

// placed records that a worker was bound to its node.
func (m *clusterMetrics) placed(w *api.StormWorker, now time.Time) {
	m.placement.Observe(now.Sub(w.CreationTimestamp.Time).Seconds())
}
