package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/diskusage"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store"
)

// state is a worker whose container's id is its name.
func state(name string, port int, phase engine.Phase) engine.State {
	return engine.State{
		Namespace: "tenant", Name: name, TopologyID: "wc-1", Port: port, ContainerID: name, Phase: phase, Restarts: 3,
	}
}

// node tells of workers and cgroups that are given.
func node(workers []engine.State, usage map[string]cgroup.Usage) *Node {
	return NewNode(Sources{
		Workers: func() []engine.State { return workers },
		Usage: func(_ context.Context, s engine.State) (cgroup.Usage, error) {
			if u, ok := usage[s.ContainerID]; ok {
				return u, nil
			}
			if s.ContainerID == "broken" {
				return cgroup.Usage{}, fs.ErrPermission
			}
			if s.ContainerID == "starts" {
				return cgroup.Usage{}, runtime.ErrNotFound
			}
			return cgroup.Usage{}, fs.ErrNotExist
		},
		Storage: func(s engine.State) (diskusage.Sample, bool) {
			return diskusage.Sample{Usage: diskusage.Usage{Bytes: 300, Inodes: 4}, Limit: diskusage.Usage{Bytes: 500, Inodes: 1024}}, s.Name == "runs"
		},
		CacheBytes: func() int64 { return 1 << 20 }, CacheLimit: 1 << 30,
		MountedLayers: func() int { return 5 },
		Prefetch: func() []prefetch.State {
			return []prefetch.State{{Phase: prefetch.Ready}, {Phase: prefetch.Failed}, {Phase: prefetch.Ready}}
		},
		PortsTaken: func() map[string]bool { return map[string]bool{"connect": true, "metrics": false} },
	})
}

var full = cgroup.Usage{
	Memory: &cgroup.MemoryUsage{Usage: 100, Limit: 200, OOMKills: 1},
	CPU: &cgroup.CPUUsage{
		User: 1500 * time.Millisecond, System: 250 * time.Millisecond, Cores: 1.4,
		Periods: 10, ThrottledPeriods: 4, Throttled: 50 * time.Millisecond,
	},
	Pids: new(uint64(7)),
}

func TestNode(t *testing.T) {
	n := node([]engine.State{
		state("runs", 6700, engine.Running), state("unlimited", 6701, engine.Running),
		state("starts", 6702, engine.Localizing), state("broken", 6703, engine.Running),
		state("dies", 6704, engine.Running), state("waits", 6700, engine.Waiting), state("gone", 6700, engine.Removed),
	}, map[string]cgroup.Usage{
		"runs":      full,
		"unlimited": {Memory: &cgroup.MemoryUsage{Usage: 1}, CPU: &cgroup.CPUUsage{}},
		"waits":     full, // of the one that it waits for, if the id is the same
	})
	const runs, unlimited = `namespace="tenant",port="6700",topology="wc-1",worker="runs"`, `namespace="tenant",port="6701",topology="wc-1",worker="unlimited"`
	want := strings.NewReplacer("RUNS", runs, "UNLIMITED", unlimited).Replace(`
# HELP stormcell_cgroup_read_failures_total Reads of workers' cgroups that failed although the cgroup was there.
# TYPE stormcell_cgroup_read_failures_total counter
stormcell_cgroup_read_failures_total 1
# HELP stormcell_layer_cache_bytes Bytes of the layer cache, with the space reserved for layers that are being fetched.
# TYPE stormcell_layer_cache_bytes gauge
stormcell_layer_cache_bytes 1.048576e+06
# HELP stormcell_layer_cache_limit_bytes Limit of the layer cache in bytes; absent if only its disk limits it.
# TYPE stormcell_layer_cache_limit_bytes gauge
stormcell_layer_cache_limit_bytes 1.073741824e+09
# HELP stormcell_layers_mounted Mounted layers, used or not; each has a loop device.
# TYPE stormcell_layers_mounted gauge
stormcell_layers_mounted 5
# HELP stormcell_port_taken 1 while another program has a port of the agent's, by the port's use: connect (for the manager) or metrics; else 0.
# TYPE stormcell_port_taken gauge
stormcell_port_taken{use="connect"} 1
stormcell_port_taken{use="metrics"} 0
# HELP stormcell_prefetch_images Images that this node prefetches, by phase.
# TYPE stormcell_prefetch_images gauge
stormcell_prefetch_images{phase="Failed"} 1
stormcell_prefetch_images{phase="Fetching"} 0
stormcell_prefetch_images{phase="Pending"} 0
stormcell_prefetch_images{phase="Ready"} 2
# HELP stormcell_worker_cpu_limit_cores CPU time per time that the worker's CFS quota permits; absent if there is none.
# TYPE stormcell_worker_cpu_limit_cores gauge
stormcell_worker_cpu_limit_cores{RUNS} 1.4
# HELP stormcell_worker_cpu_periods_total Periods of the CFS quota in which the worker could run.
# TYPE stormcell_worker_cpu_periods_total counter
stormcell_worker_cpu_periods_total{RUNS} 10
stormcell_worker_cpu_periods_total{UNLIMITED} 0
# HELP stormcell_worker_cpu_seconds_total CPU time of the worker's cgroup, by mode: user or system.
# TYPE stormcell_worker_cpu_seconds_total counter
stormcell_worker_cpu_seconds_total{mode="system",RUNS} 0.25
stormcell_worker_cpu_seconds_total{mode="system",UNLIMITED} 0
stormcell_worker_cpu_seconds_total{mode="user",RUNS} 1.5
stormcell_worker_cpu_seconds_total{mode="user",UNLIMITED} 0
# HELP stormcell_worker_cpu_throttled_periods_total Periods of the CFS quota in which the worker used it up.
# TYPE stormcell_worker_cpu_throttled_periods_total counter
stormcell_worker_cpu_throttled_periods_total{RUNS} 4
stormcell_worker_cpu_throttled_periods_total{UNLIMITED} 0
# HELP stormcell_worker_cpu_throttled_seconds_total Time that the worker waited for the next period, summed over CPUs.
# TYPE stormcell_worker_cpu_throttled_seconds_total counter
stormcell_worker_cpu_throttled_seconds_total{RUNS} 0.05
stormcell_worker_cpu_throttled_seconds_total{UNLIMITED} 0
# HELP stormcell_worker_ephemeral_storage_bytes What the worker takes up of the node's disks, when it was last measured.
# TYPE stormcell_worker_ephemeral_storage_bytes gauge
stormcell_worker_ephemeral_storage_bytes{RUNS} 300
# HELP stormcell_worker_ephemeral_storage_inodes Files, directories and links of the worker on the node's disks.
# TYPE stormcell_worker_ephemeral_storage_inodes gauge
stormcell_worker_ephemeral_storage_inodes{RUNS} 4
# HELP stormcell_worker_ephemeral_storage_limit_bytes Limit on that; absent if there is none.
# TYPE stormcell_worker_ephemeral_storage_limit_bytes gauge
stormcell_worker_ephemeral_storage_limit_bytes{RUNS} 500
# HELP stormcell_worker_ephemeral_storage_limit_inodes Limit on these; absent if there is none.
# TYPE stormcell_worker_ephemeral_storage_limit_inodes gauge
stormcell_worker_ephemeral_storage_limit_inodes{RUNS} 1024
# HELP stormcell_worker_memory_limit_bytes Limit on that memory; absent if there is none.
# TYPE stormcell_worker_memory_limit_bytes gauge
stormcell_worker_memory_limit_bytes{RUNS} 200
# HELP stormcell_worker_memory_usage_bytes Memory of the worker's cgroup, with page cache.
# TYPE stormcell_worker_memory_usage_bytes gauge
stormcell_worker_memory_usage_bytes{RUNS} 100
stormcell_worker_memory_usage_bytes{UNLIMITED} 1
# HELP stormcell_worker_oom_kills_total Processes of the worker that the kernel killed for the memory limit.
# TYPE stormcell_worker_oom_kills_total counter
stormcell_worker_oom_kills_total{RUNS} 1
stormcell_worker_oom_kills_total{UNLIMITED} 0
# HELP stormcell_worker_pids Processes and threads of the worker.
# TYPE stormcell_worker_pids gauge
stormcell_worker_pids{RUNS} 7
# HELP stormcell_worker_restarts_total Starts of the worker's process after the first.
# TYPE stormcell_worker_restarts_total counter
stormcell_worker_restarts_total{namespace="tenant",port="6702",topology="wc-1",worker="starts"} 3
stormcell_worker_restarts_total{namespace="tenant",port="6703",topology="wc-1",worker="broken"} 3
stormcell_worker_restarts_total{namespace="tenant",port="6704",topology="wc-1",worker="dies"} 3
stormcell_worker_restarts_total{RUNS} 3
stormcell_worker_restarts_total{UNLIMITED} 3
# HELP stormcell_workers Workers of this node by phase.
# TYPE stormcell_workers gauge
stormcell_workers{phase="BackOff"} 0
stormcell_workers{phase="Ended"} 0
stormcell_workers{phase="Localizing"} 1
stormcell_workers{phase="Mounting"} 0
stormcell_workers{phase="Removed"} 1
stormcell_workers{phase="Running"} 4
stormcell_workers{phase="Starting"} 0
stormcell_workers{phase="Stopping"} 0
stormcell_workers{phase="Waiting"} 1
`)
	if err := testutil.CollectAndCompare(n, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// While one worker goes and the next of its name comes, both may be seen.
func TestTwoWorkersOfOnePort(t *testing.T) {
	n := node([]engine.State{
		state("runs", 6700, engine.Stopping), state("runs", 6700, engine.Localizing),
	}, map[string]cgroup.Usage{"runs": full})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(n)
	if count, err := testutil.GatherAndCount(registry, "stormcell_worker_pids"); err != nil || count != 1 {
		t.Errorf("%d, %v", count, err)
	}
}

// A name that is no text is nobody's label, and no reason to tell nothing.
func TestLabelThatIsNoText(t *testing.T) {
	n := node([]engine.State{state("\xff", 6700, engine.Running), state("runs", 6701, engine.Running)},
		map[string]cgroup.Usage{"\xff": full, "runs": full})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(n)
	if count, err := testutil.GatherAndCount(registry, "stormcell_worker_pids"); err != nil || count != 1 {
		t.Errorf("%d, %v", count, err)
	}
}

func TestEvents(t *testing.T) {
	e := NewEvents()
	for _, err := range []error{
		nil, nil, &engine.StepError{Step: engine.StepMount, Err: errors.New("no loop device")},
		fmt.Errorf("wrapped: %w", &engine.StepError{Step: engine.StepLocalize, Err: localizer.ErrCorrupt}), errors.New("another"),
	} {
		e.LaunchDone(err)
	}
	for _, exit := range []runtime.Exit{
		{}, {Code: 3}, {Code: 137, Signal: 9}, {Code: 137, Signal: 9, OOMKilled: true}, {Code: 1, OOMKilled: true}, {Code: 137, Signal: 9, StorageExceeded: true}, {Code: runtime.UnknownCode},
	} {
		e.Ended(exit)
	}
	for _, err := range []error{
		nil, context.Canceled, fmt.Errorf("image: %w", localizer.ErrEvicted),
		fmt.Errorf("layer: %w", localizer.ErrCorrupt), localizer.ErrDiskFull, store.ErrLayerMissing,
		store.ErrNoRoot, store.ErrLost, fs.ErrPermission, errors.New("another"),
	} {
		e.FetchDone(time.Second, err)
	}
	e.StepDone(engine.StepCreate, 70*time.Millisecond)
	e.Arrived(4096)
	e.Arrived(1)
	e.Evicted(10)
	e.Evicted(20)
	const want = `
# HELP stormcell_launches_total Launches of workers by outcome: success, or the step that failed.
# TYPE stormcell_launches_total counter
stormcell_launches_total{outcome="create"} 0
stormcell_launches_total{outcome="localize"} 1
stormcell_launches_total{outcome="mount"} 1
stormcell_launches_total{outcome="other"} 1
stormcell_launches_total{outcome="prepare"} 0
stormcell_launches_total{outcome="record"} 0
stormcell_launches_total{outcome="start"} 0
stormcell_launches_total{outcome="success"} 2
stormcell_launches_total{outcome="validate"} 0
# HELP stormcell_worker_exits_total Processes of workers that ended by themselves, by reason.
# TYPE stormcell_worker_exits_total counter
stormcell_worker_exits_total{reason="completed"} 1
stormcell_worker_exits_total{reason="error"} 1
stormcell_worker_exits_total{reason="oom"} 2
stormcell_worker_exits_total{reason="signal"} 1
stormcell_worker_exits_total{reason="storage"} 1
stormcell_worker_exits_total{reason="unknown"} 1
# HELP stormcell_layer_fetch_failures_total Fetches of layers from the image store that failed, by reason.
# TYPE stormcell_layer_fetch_failures_total counter
stormcell_layer_fetch_failures_total{reason="corrupt"} 1
stormcell_layer_fetch_failures_total{reason="denied"} 1
stormcell_layer_fetch_failures_total{reason="disk_full"} 1
stormcell_layer_fetch_failures_total{reason="missing"} 1
stormcell_layer_fetch_failures_total{reason="other"} 1
stormcell_layer_fetch_failures_total{reason="store_lost"} 1
stormcell_layer_fetch_failures_total{reason="store_unavailable"} 1
# HELP stormcell_layer_fetch_bytes_total Bytes of layers that came from the image store.
# TYPE stormcell_layer_fetch_bytes_total counter
stormcell_layer_fetch_bytes_total 4097
# HELP stormcell_layer_cache_evictions_total Files deleted from the layer cache to free space.
# TYPE stormcell_layer_cache_evictions_total counter
stormcell_layer_cache_evictions_total 2
# HELP stormcell_layer_cache_evicted_bytes_total Bytes of files deleted from the layer cache to free space.
# TYPE stormcell_layer_cache_evicted_bytes_total counter
stormcell_layer_cache_evicted_bytes_total 30
`
	names := []string{
		"stormcell_launches_total", "stormcell_worker_exits_total", "stormcell_layer_fetch_failures_total",
		"stormcell_layer_fetch_bytes_total", "stormcell_layer_cache_evictions_total", "stormcell_layer_cache_evicted_bytes_total",
	}
	if err := testutil.CollectAndCompare(e, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	histograms := map[string]float64{}
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); h != nil && h.GetSampleCount() == 1 {
			histograms[f.GetName()] = h.GetSampleSum()
		}
	}
	if histograms["stormcell_layer_fetch_duration_seconds"] != 1 || histograms["stormcell_launch_step_duration_seconds"] != 0.07 {
		t.Errorf("histograms %v", histograms)
	}
}

// What the node-agent serves is as Prometheus's own rules want it.
func TestLint(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	events := NewEvents()
	events.StepDone(engine.StepMount, time.Millisecond)
	registry.MustRegister(events, node([]engine.State{state("runs", 6700, engine.Running)}, map[string]cgroup.Usage{"runs": full}))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// A runtime that does not answer holds up a scrape for a while, whatever the
// number of its workers.
func TestScrapeOfARuntimeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := node([]engine.State{state("one", 6700, engine.Running), state("two", 6701, engine.Running)}, nil)
		n.sources.Usage = func(ctx context.Context, _ engine.State) (cgroup.Usage, error) {
			<-ctx.Done()
			return cgroup.Usage{}, ctx.Err()
		}
		begun := time.Now()
		if count := testutil.CollectAndCount(n, "stormcell_worker_restarts_total"); count != 2 {
			t.Errorf("%d workers are told of", count)
		}
		if took := time.Since(begun); took != scrapeLimit {
			t.Errorf("it took %v", took)
		}
	})
}
