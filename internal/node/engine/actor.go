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

// actor takes one worker through its life. Only its goroutine acts and uses rec;
// others change the desired state and read the current state.
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
	// to run once this one is removed.
	started, gone bool
	next          *record

	// wanted ends when the worker is to be removed, by stop, or the agent ends.
	wanted context.Context //nolint:containedctx // the life of the worker
	stop   context.CancelFunc
	// unconfirmed ends with wanted, or when Ensure confirms the worker in this
	// process: a record alone starts nothing.
	unconfirmed context.Context //nolint:containedctx // the life of the worker until then
	confirmed   context.CancelFunc
	// woken gets a token when the restart policy has changed.
	woken chan struct{}
	// excess gets a run that takes up too much storage.
	excess chan excess

	mu    sync.Mutex
	spec  worker.Spec
	state State
}

// remains are what an earlier attempt, or an earlier agent, may have left of a worker
// beside its record. The next agent finds them again, so they are not recorded.
type remains struct {
	// unsettled is true until the runtime, which was away when the agent started,
	// has reported what it has of the worker.
	unsettled bool
	// dirty is true if something is to be undone, which may be in the way.
	dirty bool
}

func newActor(e *Engine, rec *record) *actor {
	w := rec.Spec
	a := &actor{
		engine: e, driver: e.driverOf(w), containerID: w.ContainerID(), rec: rec, spec: w,
		woken: make(chan struct{}, 1), excess: make(chan excess, 1),
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

// spawn starts the actor's goroutine. Call it with the engine's lock held.
func (a *actor) spawn(ctx context.Context) {
	a.started = true
	a.publish(func(*State) {})
	a.engine.group.Go(func() { a.run(ctx) })
}

// run takes the worker through its life until it is removed, or ctx ends: then run
// leaves everything as it is for the next agent.
func (a *actor) run(ctx context.Context) {
	for !a.stopping() {
		a.advance(ctx)
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
		a.sleepBeforeRetry(ctx, err, retryIn(err, failures))
	}
}

// sleepBeforeRetry pauses before a failed removal is retried. If a process was stuck in
// the kernel, the pause ends with that process.
func (a *actor) sleepBeforeRetry(ctx context.Context, err error, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if errors.Is(err, process.ErrStuck) {
		if _, err := a.driver.Runtime.Wait(ctx, a.id()); err == nil {
			return
		}
	}
	<-ctx.Done()
}

// advance takes one step in a worker's life, by its record: to the end of a process, or
// of the pause after one.
func (a *actor) advance(ctx context.Context) {
	switch rec := a.rec; {
	case a.unsettled:
		a.settle(ctx)
	case rec.Running:
		a.watch(ctx)
	case a.dirty:
		a.retryTeardown(ctx)
	case !a.awaitConfirmation():
	case rec.ended(a.desired().RestartPolicy):
		a.publish(func(s *State) { s.Phase, s.Err = Ended, nil })
		a.sleep(never)
	case time.Until(rec.RetryAt) > 0:
		a.publish(func(s *State) { s.Phase, s.RetryAt = BackOff, rec.RetryAt })
		a.sleep(time.Until(rec.RetryAt))
	default:
		a.launch(ctx)
	}
}

// awaitConfirmation waits until the worker is confirmed; false if it is to be removed or
// the agent ends.
func (a *actor) awaitConfirmation() bool {
	<-a.unconfirmed.Done()
	return !a.stopping()
}

// never is longer than any pause.
const never = time.Duration(1<<63 - 1)

// sleep waits for the time to pass, or until the desired state changes.
func (a *actor) sleep(d time.Duration) { pause(a.wanted, d, a.woken) }

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

// stopping reports whether the worker is to be removed, or the agent ends.
func (a *actor) stopping() bool { return a.wanted.Err() != nil }

// confirm allows the worker to run, and updates what may change of its spec, and what
// no record has of it.
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

// update updates what may change of a spec, and what no record has of it. It reports
// whether the restart policy has changed.
func (a *actor) update(w worker.Spec) (policyChanged bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	policyChanged = a.spec.RestartPolicy != w.RestartPolicy
	a.spec.RestartPolicy, a.spec.GracePeriod = w.RestartPolicy, w.GracePeriod
	a.spec.Command, a.spec.Env = w.Command, w.Env
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

// id returns the container's id. It never changes, so any goroutine may call id.
func (a *actor) id() string { return a.containerID }

// publish changes the state and reports it to the engine's owner.
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
	rec.Running, rec.PID, rec.LastExit, rec.Exceeded = false, 0, &exit, ""
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
