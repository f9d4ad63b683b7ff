package engine

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// excess is a run of a worker that takes up more storage than it may, and why.
type excess struct {
	startedAt time.Time
	why       string
}

// EndExceeded ends the run of a worker that began at startedAt, for the storage that it
// takes up: why says what takes up how much. It is not started again, whatever its restart
// policy is, and its files are removed. A run that has ended by itself is left alone.
func (e *Engine) EndExceeded(uid string, startedAt time.Time, why string) {
	e.mu.Lock()
	a, ok := e.actors[uid]
	e.mu.Unlock()
	if !ok {
		return
	}
	select {
	case a.excess <- excess{startedAt, why}:
	default: // it knows
	}
}

// awaitEnd waits for the end of the worker's process, and ends it if it takes up too much
// storage.
func (a *actor) awaitEnd(ctx context.Context) (runtime.Exit, error) {
	for a.rec.Exceeded == "" {
		exit, found, err := a.waitOrExcess(ctx)
		if found == nil {
			return exit, err
		}
		if found.startedAt.Equal(a.rec.StartedAt) {
			a.rec.Exceeded = found.why
		}
	}
	return a.endExceeded(ctx)
}

// waitOrExcess waits for the end of the process, or for the news that it takes up too much.
func (a *actor) waitOrExcess(ctx context.Context) (exit runtime.Exit, found *excess, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		exit, err = a.driver.Runtime.Wait(ctx, a.id())
	}()
	select {
	case <-ended:
		return exit, nil, err
	case x := <-a.excess:
		cancel()
		<-ended
		if err == nil {
			return exit, nil, nil // it has ended at the same time
		}
		return runtime.Exit{}, &x, nil
	}
}

// endExceeded kills all processes at once: in a grace period they would go on writing.
func (a *actor) endExceeded(ctx context.Context) (runtime.Exit, error) {
	a.engine.Log.Info("worker takes up too much storage", "worker", a.name(), "container", a.id(), "use", a.rec.Exceeded)
	// Recorded before the kill: the next agent would take it for any other end.
	if err := a.save(); err != nil { // no reason to let it go on
		a.engine.Log.Warn("not recorded yet", "container", a.id(), "error", err)
	}
	exit, err := a.signalAndWait(ctx, syscall.SIGKILL, killWait)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// Left to the runtime's deletion, which knows more ways and tells if it is stuck.
		return runtime.Exit{Code: runtime.UnknownCode, At: time.Now()}, nil
	}
	return exit, err
}
