package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// actor carries one worker through its life. Only its goroutine acts and
// touches rec; others change what is desired and read the state.
type actor struct {
	engine      *Engine
	driver      runtime.Driver
	containerID string
	rec         *record
	// stray is true of a worker that has no record: of its Spec only the port
	// and the id are known.
	stray bool
	remains

	// These are guarded by the engine's lock. next is a worker of the same UID
	// that shall run once this one is gone.
	started, gone bool
	next          *record

	// wanted ends when the worker shall go, which stop says, or the agent ends.
	wanted context.Context //nolint:containedctx // the life of the worker
	stop   context.CancelFunc
	// unconfirmed ends with wanted, or when this process was told that the
	// worker shall run: a record alone starts nothing.
	unconfirmed context.Context //nolint:containedctx // the life of the worker until then
	confirmed   context.CancelFunc
	// woken gets a token when the restart policy has changed.
	woken chan struct{}

	mu    sync.Mutex
	spec  worker.Spec
	state State
}

// remains are what an earlier attempt, or an earlier agent, may have left of a
// worker beside its record. They are found again by whoever comes next, and so
// are not recorded.
type remains struct {
	// unsettled is true until the runtime, which was away when the agent began,
	// has told what it has of the worker.
	unsettled bool
	// dirty is true if something is to be undone, which may be in the way.
	dirty bool
}

func newActor(e *Engine, rec *record) *actor {
	w := rec.Spec
	a := &actor{
		engine: e, driver: e.driverOf(w), containerID: w.ContainerID(), rec: rec, spec: w,
		woken: make(chan struct{}, 1),
		state: State{
			Namespace: w.Namespace, Name: w.Name, UID: w.UID, TopologyID: w.TopologyID, Port: w.Port, ContainerID: w.ContainerID(),
			Runtime: w.RuntimeName(),
			Phase:   Localizing, Since: time.Now(), TotalBytes: w.Image.SquashfsBytes(),
			Restarts: rec.restarts(), LastExit: rec.LastExit,
		},
	}
	a.wanted, a.stop = context.WithCancel(e.ctx)
	a.unconfirmed, a.confirmed = context.WithCancel(a.wanted)
	switch s := &a.state; {
	case rec.Running:
		s.Phase, s.PID, s.StartedAt = Running, rec.PID, rec.StartedAt
		s.Localized, s.Mounted, s.LocalizedBytes, s.Unverified = true, true, s.TotalBytes, rec.Unverified
	case rec.ended(w.RestartPolicy):
		s.Phase = Ended
	case rec.LastExit != nil:
		s.Phase, s.RetryAt = BackOff, rec.RetryAt
	}
	return a
}

// start lets the actor run; the engine's lock is held.
func (a *actor) start(ctx context.Context) {
	a.started = true
	a.publish(func(*State) {})
	a.engine.group.Go(func() { a.run(ctx) })
}

// run goes on until the worker is gone, or ctx ends: then it leaves all as it
// is for the next agent.
func (a *actor) run(ctx context.Context) {
	for !a.stopping() {
		a.live(ctx)
	}
	for failures := 1; ctx.Err() == nil; failures++ {
		err := a.remove(ctx)
		if err == nil {
			a.engine.finished(a)
			return
		}
		if ctx.Err() != nil {
			return
		}
		a.engine.Log.Warn("removal failed", "worker", a.name(), "container", a.id(), "error", err)
		a.publish(func(s *State) { s.Phase, s.Err = Stopping, err })
		a.restAfter(ctx, err, retryIn(err, failures))
	}
}

// restAfter pauses before a removal that has failed is tried again. If a
// process was stuck in the kernel, the pause ends with that process.
func (a *actor) restAfter(ctx context.Context, err error, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if errors.Is(err, process.ErrStuck) {
		if _, err := a.driver.Runtime.Wait(ctx, a.id()); err == nil {
			return
		}
	}
	<-ctx.Done()
}

// live is one round of a worker's life: from where its record stands to the
// end of a process, or of the pause after one.
func (a *actor) live(ctx context.Context) {
	switch rec := a.rec; {
	case a.unsettled:
		a.settle(ctx)
	case rec.Running:
		a.watch(ctx)
	case a.dirty:
		a.cleanUp(ctx)
	case !a.awaitConfirmation():
	case rec.ended(a.desired().RestartPolicy):
		a.publish(func(s *State) { s.Phase, s.Err = Ended, nil })
		a.rest(never)
	case time.Until(rec.RetryAt) > 0:
		a.publish(func(s *State) { s.Phase, s.RetryAt = BackOff, rec.RetryAt })
		a.rest(time.Until(rec.RetryAt))
	default:
		a.launch(ctx)
	}
}

// awaitConfirmation waits until the worker is confirmed; false if it shall go
// or the agent ends.
func (a *actor) awaitConfirmation() bool {
	<-a.unconfirmed.Done()
	return !a.stopping()
}

// never is longer than any pause.
const never = time.Duration(1<<63 - 1)

// rest waits for the time to pass, or until something else is wanted.
func (a *actor) rest(d time.Duration) { pause(a.wanted, d, a.woken) }

// pause waits for the time to pass, for the end of ctx, or for a token of
// woken, which may be nil.
func pause(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// stopping reports whether the worker shall go, or the agent ends.
func (a *actor) stopping() bool { return a.wanted.Err() != nil }

// confirm says that the worker shall run, and takes over what may change of
// its spec.
func (a *actor) confirm(w worker.Spec) {
	changed := a.update(w)
	a.confirmed()
	if changed {
		select {
		case a.woken <- struct{}{}:
		default: // a token is there already
		}
	}
}

// update takes over what may change of a spec, and tells whether the restart
// policy has.
func (a *actor) update(w worker.Spec) (policyChanged bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	policyChanged = a.spec.RestartPolicy != w.RestartPolicy
	a.spec.RestartPolicy, a.spec.GracePeriod = w.RestartPolicy, w.GracePeriod
	return policyChanged
}

// save writes the record, with what may change of the spec.
func (a *actor) save() error {
	w := a.desired()
	a.rec.Spec.RestartPolicy, a.rec.Spec.GracePeriod = w.RestartPolicy, w.GracePeriod
	return a.engine.records.save(a.rec)
}

func (a *actor) desired() worker.Spec {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spec
}

func (a *actor) name() string {
	w := a.desired()
	if a.stray {
		return "of container " + w.ContainerID()
	}
	return w.Namespace + "/" + w.Name
}

// id names the container. It never changes, so that others may ask, too.
func (a *actor) id() string { return a.containerID }

// publish changes the state and tells the engine's owner.
func (a *actor) publish(change func(*State)) {
	a.mu.Lock()
	change(&a.state)
	state := a.state
	a.mu.Unlock()
	if !a.stray { // nobody asks for it
		a.engine.Changed(state)
	}
}

func (a *actor) snapshot() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// ended publishes and records the end of a process.
func (a *actor) ended(exit runtime.Exit) error {
	rec := a.rec
	rec.Running, rec.PID, rec.LastExit = false, 0, &exit
	rec.Failures = failuresAfter(rec.Failures, rec.StartedAt, exit.At)
	rec.RetryAt = exit.At.Add(backOff(rec.Failures))
	a.publish(func(s *State) {
		s.Phase, s.PID, s.StartedAt, s.LastExit, s.Err = BackOff, 0, time.Time{}, &exit, nil
		s.RetryAt, s.Localized, s.Mounted = rec.RetryAt, false, false
		if rec.ended(a.spec.RestartPolicy) {
			s.Phase = Ended
		}
	})
	return a.save()
}
