package metrics

import (
	"context"
	"errors"
	"io/fs"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// workerDesc describes what is told of each worker by itself.
func workerDesc(name, help string, labels ...string) *prometheus.Desc {
	return desc("stormcell_worker_"+name, help, append([]string{"namespace", "worker", "topology", "port"}, labels...)...)
}

var (
	restartsDesc     = workerDesc("restarts_total", "Starts of the worker's process after the first.")
	memoryDesc       = workerDesc("memory_usage_bytes", "Memory of the worker's cgroup, with page cache.")
	memoryLimitDesc  = workerDesc("memory_limit_bytes", "Limit on that memory; absent if there is none.")
	oomKillsDesc     = workerDesc("oom_kills_total", "Processes of the worker that the kernel killed for the memory limit.")
	cpuDesc          = workerDesc("cpu_seconds_total", "CPU time of the worker's cgroup, by mode: user or system.", "mode")
	cpuLimitDesc     = workerDesc("cpu_limit_cores", "CPU time per time that the worker's CFS quota permits; absent if there is none.")
	periodsDesc      = workerDesc("cpu_periods_total", "Periods of the CFS quota in which the worker could run.")
	throttledDesc    = workerDesc("cpu_throttled_periods_total", "Periods of the CFS quota in which the worker used it up.")
	waitedDesc       = workerDesc("cpu_throttled_seconds_total", "Time that the worker waited for the next period, summed over CPUs.")
	storageDesc      = workerDesc("ephemeral_storage_bytes", "What the worker takes up of the node's disks, when it was last measured.")
	storageLimitDesc = workerDesc("ephemeral_storage_limit_bytes", "Limit on that; absent if there is none.")
	filesDesc        = workerDesc("ephemeral_storage_inodes", "Files, directories and links of the worker on the node's disks.")
	filesLimitDesc   = workerDesc("ephemeral_storage_limit_inodes", "Limit on these; absent if there is none.")
	pidsDesc         = workerDesc("pids", "Processes and threads of the worker.")
)

func describeWorkers(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		restartsDesc, memoryDesc, memoryLimitDesc, oomKillsDesc, cpuDesc, cpuLimitDesc, periodsDesc, throttledDesc, waitedDesc, pidsDesc,
		storageDesc, storageLimitDesc, filesDesc, filesLimitDesc,
	} {
		ch <- d
	}
}

// collectWorkers tells of each worker that has its port. A port is one
// worker's at a time, but states are not all of one moment: two of one port
// would be two samples of one name, and fail the scrape.
func (n *Node) collectWorkers(out samples, workers []engine.State) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	told := map[int]bool{}
	for _, w := range workers {
		if w.Phase == engine.Waiting || w.Phase == engine.Removed || told[w.Port] {
			continue
		}
		told[w.Port] = true
		labels := []string{w.Namespace, w.Name, w.TopologyID, strconv.Itoa(w.Port)}
		out.counter(restartsDesc, float64(w.Restarts), labels...)
		if s, ok := n.sources.Storage(w); ok {
			out.gauge(storageDesc, float64(s.Bytes), labels...)
			out.gauge(storageLimitDesc, float64(s.Limit.Bytes), labels...)
			out.gauge(filesDesc, float64(s.Inodes), labels...)
			out.gauge(filesLimitDesc, float64(s.Limit.Inodes), labels...)
		}
		switch usage, err := n.sources.Usage(ctx, w); {
		case err == nil:
			out.usage(usage, labels)
		case errors.Is(err, runtime.ErrNotFound), errors.Is(err, fs.ErrNotExist): // not yet, or no more
		default:
			n.unreadable.Inc()
		}
	}
}

// usage tells of a worker's cgroup.
func (s samples) usage(u cgroup.Usage, labels []string) {
	if m := u.Memory; m != nil {
		s.gauge(memoryDesc, float64(m.Usage), labels...)
		s.counter(oomKillsDesc, float64(m.OOMKills), labels...)
		if m.Limit > 0 {
			s.gauge(memoryLimitDesc, float64(m.Limit), labels...)
		}
	}
	if c := u.CPU; c != nil {
		s.counter(cpuDesc, c.User.Seconds(), append(labels, "user")...)
		s.counter(cpuDesc, c.System.Seconds(), append(labels, "system")...)
		if c.Cores > 0 {
			s.gauge(cpuLimitDesc, c.Cores, labels...)
		}
		s.counter(periodsDesc, float64(c.Periods), labels...)
		s.counter(throttledDesc, float64(c.ThrottledPeriods), labels...)
		s.counter(waitedDesc, c.Throttled.Seconds(), labels...)
	}
	if u.Pids != nil {
		s.gauge(pidsDesc, float64(*u.Pids), labels...)
	}
}
