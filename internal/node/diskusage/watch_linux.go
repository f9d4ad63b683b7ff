package diskusage

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
)

// interval is the time between the begins of two rounds, if the walks of all workers
// leave that much. It bounds how much a worker can write beyond its limit.
const interval = 5 * time.Second

// Worker is a worker that runs.
type Worker struct {
	UID string
	// StartedAt is when this run of it began.
	StartedAt time.Time
	// Limit is what it may take up.
	Limit  Usage
	Places []Place
	// Pids returns its processes.
	Pids func() (map[int]bool, error)
}

// Options of a Watcher.
type Options struct {
	// Workers returns the workers with a limit that run.
	Workers func(ctx context.Context) []Worker
	// Exceeded receives a worker that takes up more than its limit, and what it takes
	// up, in words. It must not block.
	Exceeded func(w Worker, why string)
	Log      *slog.Logger
}

// Watcher measures the workers of a node, one after the other, for ever. All walks together
// use at most a tenth of one CPU.
type Watcher struct {
	options Options

	mu      sync.Mutex
	reports map[string]Sample // by UID
}

// Sample is what a worker took up when it was last measured.
type Sample struct {
	Usage
	Limit Usage
}

// NewWatcher returns a watcher that does nothing before Run.
func NewWatcher(o Options) *Watcher { return &Watcher{options: o, reports: map[string]Sample{}} }

// Usage returns what a worker took up when it was last measured; false if it was not, since
// it began or has no limit.
func (w *Watcher) Usage(uid string) (Sample, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.reports[uid]
	return s, ok
}

// Run measures until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	// The pace is that of one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pace := newPace()
	for ctx.Err() == nil {
		begun := time.Now()
		w.round(ctx, pace)
		_ = backoff.Wait(ctx, interval-time.Since(begun)) // the loop sees the end of ctx
	}
	return nil
}

// round measures each worker once.
func (w *Watcher) round(ctx context.Context, p *pace) {
	seen := map[string]Sample{}
	for _, worker := range w.options.Workers(ctx) {
		report, err := measureTwice(ctx, p, worker)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.options.Log.Warn("use of the disk is not known", "worker", worker.UID, "error", err)
			continue
		}
		seen[worker.UID] = Sample{report.Usage, worker.Limit}
		if report.Over {
			w.options.Exceeded(worker, report.Message(worker.Limit))
		}
		w.keep(worker.UID, seen[worker.UID])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = seen
}

func (w *Watcher) keep(uid string, s Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports[uid] = s
}

// measureTwice measures a worker again that seems to be over its limit: a file that was
// renamed meanwhile may have been counted at both of its names.
func measureTwice(ctx context.Context, p *pace, w Worker) (Report, error) {
	for times := 1; ; times++ {
		pids, err := w.Pids()
		if err != nil {
			return Report{}, err
		}
		r, err := measure(ctx, p, w.Limit, w.Places, pids)
		if err != nil || !r.Over || times == 2 {
			return r, err
		}
	}
}
