package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/diskusage"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/prefetch"
)

// scrapeLimit is how long the workers of a node may hold up a scrape, all
// together: less than the 10 s that Prometheus waits by default.
const scrapeLimit = 5 * time.Second

// Sources are where a Node reads the current state.
type Sources struct {
	Workers func() []engine.State
	// Usage reads the cgroup of a worker's container. runtime.ErrNotFound or
	// fs.ErrNotExist if it has none.
	Usage func(context.Context, engine.State) (cgroup.Usage, error)
	// Storage returns what a worker takes up of the disks; false if it is not measured.
	Storage func(engine.State) (diskusage.Sample, bool)
	// CacheBytes and CacheLimit are of the layer cache; no limit is 0.
	CacheBytes    func() int64
	CacheLimit    int64
	MountedLayers func() int
	Prefetch      func() []prefetch.State
	// PortsTaken tells, for each use of a port, whether another program has it.
	PortsTaken func() map[string]bool
}

// Node collects the state of a node at the moment of a scrape: of the whole node and
// of each worker.
type Node struct {
	sources Sources
	// unreadable counts cgroups that are there and could not be read.
	unreadable prometheus.Counter
}

var _ prometheus.Collector = (*Node)(nil)

// NewNode returns a collector of the state of sources.
func NewNode(sources Sources) *Node {
	return &Node{sources: sources, unreadable: counter("stormcell_cgroup_read_failures_total",
		"Reads of workers' cgroups that failed although the cgroup was there.")}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	workersDesc    = desc("stormcell_workers", "Workers of this node by phase.", "phase")
	cacheBytesDesc = desc("stormcell_layer_cache_bytes", "Bytes of the layer cache, with the space reserved for layers that are being fetched.")
	cacheLimitDesc = desc("stormcell_layer_cache_limit_bytes", "Limit of the layer cache in bytes; absent if only its disk limits it.")
	mountedDesc    = desc("stormcell_layers_mounted", "Mounted layers, used or not; each has a loop device.")
	prefetchDesc   = desc("stormcell_prefetch_images", "Images that this node prefetches, by phase.", "phase")
	takenDesc      = desc("stormcell_port_taken", "1 while another program has a port of the agent's, by the port's use: connect (for the manager) or metrics; else 0.", "use")
)

// Describe implements prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{workersDesc, cacheBytesDesc, cacheLimitDesc, mountedDesc, prefetchDesc, takenDesc} {
		ch <- d
	}
	n.unreadable.Describe(ch)
	describeWorkers(ch)
}

// Collect implements prometheus.Collector.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	out := samples(ch)
	workers := n.sources.Workers()
	phases := map[engine.Phase]int{}
	for _, w := range workers {
		phases[w.Phase]++
	}
	for _, phase := range engine.Phases() {
		out.gauge(workersDesc, float64(phases[phase]), string(phase))
	}
	out.gauge(cacheBytesDesc, float64(n.sources.CacheBytes()))
	if limit := n.sources.CacheLimit; limit > 0 {
		out.gauge(cacheLimitDesc, float64(limit))
	}
	out.gauge(mountedDesc, float64(n.sources.MountedLayers()))
	n.collectPrefetch(out)
	for use, taken := range n.sources.PortsTaken() {
		is := 0.0
		if taken {
			is = 1
		}
		out.gauge(takenDesc, is, use)
	}
	n.collectWorkers(out, workers)
	n.unreadable.Collect(ch)
}

func (n *Node) collectPrefetch(out samples) {
	images := map[prefetch.Phase]int{}
	for _, s := range n.sources.Prefetch() {
		images[s.Phase]++
	}
	for phase, name := range map[prefetch.Phase]string{
		prefetch.Pending: "Pending", prefetch.Fetching: "Fetching", prefetch.Ready: "Ready", prefetch.Failed: "Failed",
	} {
		out.gauge(prefetchDesc, float64(images[phase]), name)
	}
}

// samples are those of one scrape.
type samples chan<- prometheus.Metric

func (s samples) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.send(d, prometheus.GaugeValue, v, labels)
}

func (s samples) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.send(d, prometheus.CounterValue, v, labels)
}

// send drops a sample whose labels are no text, rather than fail the scrape.
func (s samples) send(d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	if m, err := prometheus.NewConstMetric(d, t, v, labels...); err == nil {
		s <- m
	}
}
