// Package metrics has the Prometheus metrics of a node: counters of events, which the
// parts of the node report to an observer, and the current state, which is read for each
// scrape. docs/metrics.md lists all metrics.
package metrics

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store"
)

// seconds are the buckets of all that takes time here: from a step that writes
// a file to the fetch of a large image.
var seconds = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}

// other is what has no name of its own.
const other = "other"

// Events counts what happens on a node, and is to be registered as a collector.
type Events struct {
	launches, exits         *prometheus.CounterVec
	steps                   *prometheus.HistogramVec
	fetchedBytes            prometheus.Counter
	fetches                 prometheus.Histogram
	fetchFailures           *prometheus.CounterVec
	evictions, evictedBytes prometheus.Counter
	collectors              []prometheus.Collector
}

var (
	_ engine.Observer      = (*Events)(nil)
	_ localizer.Observer   = (*Events)(nil)
	_ prometheus.Collector = (*Events)(nil)
)

// NewEvents returns counters that are zero for every outcome: there is no rate of a
// counter that does not exist before its first event.
func NewEvents() *Events {
	e := &Events{
		launches:      counters("stormcell_launches_total", "Launches of workers by outcome: success, or the step that failed.", "outcome"),
		exits:         counters("stormcell_worker_exits_total", "Processes of workers that ended by themselves, by reason.", "reason"),
		fetchFailures: counters("stormcell_layer_fetch_failures_total", "Fetches of layers from the image store that failed, by reason.", "reason"),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stormcell_launch_step_duration_seconds", Help: "Duration of the steps of successful launches.", Buckets: seconds,
		}, []string{"step"}),
		fetches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stormcell_layer_fetch_duration_seconds", Help: "Duration of successful fetches of layers, with the time in the queue.", Buckets: seconds,
		}),
		fetchedBytes: counter("stormcell_layer_fetch_bytes_total", "Bytes of layers that came from the image store."),
		evictions:    counter("stormcell_layer_cache_evictions_total", "Files deleted from the layer cache to free space."),
		evictedBytes: counter("stormcell_layer_cache_evicted_bytes_total", "Bytes of files deleted from the layer cache to free space."),
	}
	e.collectors = []prometheus.Collector{e.launches, e.exits, e.steps, e.fetchedBytes, e.fetches, e.fetchFailures, e.evictions, e.evictedBytes}
	e.launches.WithLabelValues("success")
	for _, step := range engine.LaunchSteps() {
		e.launches.WithLabelValues(string(step))
	}
	for _, reason := range []string{"completed", "error", "signal", "oom", "storage", "unknown"} {
		e.exits.WithLabelValues(reason)
	}
	for _, f := range failures {
		e.fetchFailures.WithLabelValues(f.reason)
	}
	e.fetchFailures.WithLabelValues(other)
	return e
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

// Describe implements prometheus.Collector.
func (e *Events) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range e.collectors {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (e *Events) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.collectors {
		c.Collect(ch)
	}
}

// StepDone implements engine.Observer.
func (e *Events) StepDone(step engine.Step, took time.Duration) {
	e.steps.WithLabelValues(string(step)).Observe(took.Seconds())
}

// LaunchDone implements engine.Observer.
func (e *Events) LaunchDone(err error) { e.launches.WithLabelValues(outcome(err)).Inc() }

func outcome(err error) string {
	if err == nil {
		return "success"
	}
	if failed, ok := errors.AsType[*engine.StepError](err); ok {
		return string(failed.Step)
	}
	return other
}

// Ended implements engine.Observer.
func (e *Events) Ended(exit runtime.Exit) { e.exits.WithLabelValues(exitReason(exit)).Inc() }

func exitReason(exit runtime.Exit) string {
	switch {
	case exit.StorageExceeded:
		return "storage"
	case exit.OOMKilled:
		return "oom"
	case exit.Signal != 0:
		return "signal"
	case exit.Code == runtime.UnknownCode:
		return "unknown"
	case exit.Code != 0:
		return "error"
	default:
		return "completed"
	}
}

// Arrived implements localizer.Observer.
func (e *Events) Arrived(bytes int) { e.fetchedBytes.Add(float64(bytes)) }

// FetchDone implements localizer.Observer.
func (e *Events) FetchDone(took time.Duration, err error) {
	switch {
	case err == nil:
		e.fetches.Observe(took.Seconds())
	case errors.Is(err, context.Canceled), errors.Is(err, localizer.ErrEvicted): // given up
	default:
		e.fetchFailures.WithLabelValues(failure(err)).Inc()
	}
}

// failures name the errors of fetches that a person can do something about.
var failures = []struct {
	err    error
	reason string
}{
	{localizer.ErrCorrupt, "corrupt"},
	{localizer.ErrDiskFull, "disk_full"},
	{store.ErrLayerMissing, "missing"},
	{store.ErrUnavailable, "store_unavailable"},
	{store.ErrLost, "store_lost"},
	{fs.ErrPermission, "denied"},
}

func failure(err error) string {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.reason
		}
	}
	return other
}

// Evicted implements localizer.Observer.
func (e *Events) Evicted(bytes int64) {
	e.evictions.Inc()
	e.evictedBytes.Add(float64(bytes))
}
