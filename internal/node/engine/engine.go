// Package engine runs the workers of one node: it takes the desired workers as plain
// values, takes each through localize, mount, prepare, create, start and watch, and
// reports their state. Every worker has its own goroutine, so that a worker that hangs
// does not block another.
//
//	Ensure → localize → mount → prepare → create → start → watch → (back-off → …)
//	Remove → SIGTERM → grace → SIGKILL → delete → unmount → remove → Removed
//
// The kernel and the disk are the source of truth: Recover takes over what an earlier
// agent left, from the records in the run root and the runtime's list.
package engine

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Options are the parts of an Engine.
type Options struct {
	Runtimes runtime.Drivers
	Bundles  Bundles
	// RunRoot is root's own directory on a tmpfs, such as /run/stormcell.
	RunRoot string
	// Changed is called for every worker after its State has changed. It must not
	// block and, since locks are held, not call the engine.
	Changed func(State)
	// Observer may be nil.
	Observer Observer
	Log      *slog.Logger
}

// Past is what the cluster remembers of a worker that this node may have no
// record of, as after a reboot. The zero value is a worker that never ran.
type Past struct {
	// Launched is the number of processes that were started.
	Launched int
	// RunningSince is when the last of them was started, if the last that was
	// reported of it is that it runs.
	RunningSince time.Time
	LastExit     *runtime.Exit
}

// record returns what a record would say of a worker with this past, in a runtime.
// A container may outlive a reboot, and the record does not: so there may be one if
// the worker has ever run, unless the runtime is off here.
func (p Past) record(w worker.Spec, in runtime.Driver) *record {
	rec := &record{Spec: w, Launched: p.Launched, LastExit: p.LastExit, NoContainer: p == Past{} || in.Off != nil}
	switch {
	case p.RunningSince.IsZero():
	case rec.NoContainer:
		rec.LastExit = &runtime.Exit{Code: runtime.UnknownCode, At: time.Now()}
	default:
		rec.Running, rec.StartedAt = true, p.RunningSince
	}
	return rec
}

// Engine runs the workers of one node. Call Recover once; Ensure,
// Remove and State may be called at any time after Recover.
type Engine struct {
	Options
	records records

	mu     sync.Mutex
	ctx    context.Context   //nolint:containedctx // the life of all actors, set by Recover
	actors map[string]*actor // by UID
	group  sync.WaitGroup
}

// New returns an engine that does nothing before Recover.
func New(o Options) *Engine {
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	return &Engine{Options: o, records: records{dir: filepath.Join(o.RunRoot, "workers"), runtimes: o.Runtimes}, actors: map[string]*actor{}}
}

// Wait returns when ctx, the one given to Recover, has ended and every actor has
// returned. Containers continue to run.
func (e *Engine) Wait() { e.group.Wait() }

// Ensure runs a worker. A second call for the same UID updates its restart policy and
// grace period; the rest of a worker is fixed. A worker that is being removed is run
// again once it is removed.
func (e *Engine) Ensure(w worker.Spec, past Past) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch a, ok := e.actors[w.UID]; {
	case !ok, a.gone:
		e.register(newActor(e, past.record(w, e.driverOf(w)))).confirm(w)
	case a.stopping():
		a.next = past.record(w, a.driver)
	default:
		a.confirm(w)
	}
}

// Purge is Remove for a worker that this node may have no record of, as after a reboot:
// what is left of it is removed too.
func (e *Engine) Purge(w worker.Spec, past Past) {
	e.mu.Lock()
	if a, ok := e.actors[w.UID]; ok {
		a.update(w)
	} else {
		a = newActor(e, past.record(w, e.driverOf(w)))
		a.stop()
		e.register(a)
	}
	e.mu.Unlock()
	e.Remove(w.UID)
}

// driverOf returns the driver of a worker. A worker with an unknown runtime is never
// launched; it is removed as one of Runc, which removes everything except the containers
// of other runtimes.
func (e *Engine) driverOf(w worker.Spec) runtime.Driver {
	driver, err := e.Runtimes.Of(w)
	if err != nil {
		return e.Runtimes[worker.Runc]
	}
	return driver
}

// register adds an actor and schedules it. Call it with the lock held.
func (e *Engine) register(a *actor) *actor {
	e.actors[a.desired().UID] = a
	e.schedule(a)
	return a
}

// schedule spawns an actor, unless another worker has its port or id: then it waits
// until that one is removed. Call it with the lock held.
func (e *Engine) schedule(a *actor) {
	if blocker := e.blocker(a); blocker != nil {
		a.publish(func(s *State) { s.Phase, s.Blocker = Waiting, blocker.name() })
		return
	}
	a.spawn(e.ctx)
}

// blocker returns the worker that uses the port or id of a's, nil if none does. A
// stray, which is only swept, needs no port.
func (e *Engine) blocker(a *actor) *actor {
	w := a.desired()
	for _, other := range e.actors {
		if other == a || !other.started || other.gone {
			continue
		}
		if o := other.desired(); o.ID == w.ID || o.Port == w.Port && !a.stray {
			return other
		}
	}
	return nil
}

// Remove removes a worker from this node. It is safe to repeat.
func (e *Engine) Remove(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a, ok := e.actors[uid]
	if !ok {
		return
	}
	a.next = nil
	a.stop()
	if !a.started {
		a.gone = true
		a.publish(func(s *State) { s.Phase, s.Blocker = Removed, "" })
	}
}

// Forget drops the state of a worker that is Removed.
func (e *Engine) Forget(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a, ok := e.actors[uid]; ok && a.gone {
		delete(e.actors, uid)
	}
}

// State returns the current state of a worker; false if the worker is not known here.
func (e *Engine) State(uid string) (State, bool) {
	e.mu.Lock()
	a, ok := e.actors[uid]
	e.mu.Unlock()
	if !ok {
		return State{}, false
	}
	return a.snapshot(), true
}

// States returns the current state of every worker known here, by UID. Leftovers that
// are being swept are not workers.
func (e *Engine) States() []State {
	e.mu.Lock()
	actors := make([]*actor, 0, len(e.actors))
	for _, a := range e.actors {
		if !a.stray {
			actors = append(actors, a)
		}
	}
	e.mu.Unlock()
	states := make([]State, 0, len(actors))
	for _, a := range actors {
		states = append(states, a.snapshot())
	}
	slices.SortFunc(states, func(a, b State) int { return cmp.Compare(a.UID, b.UID) })
	return states
}

// Inspect returns a worker's spec, and where its container is found from
// outside. runtime.ErrNotFound if it does not run here; its process may end
// at any time.
func (e *Engine) Inspect(ctx context.Context, uid string) (worker.Spec, runtime.Info, error) {
	e.mu.Lock()
	a, ok := e.actors[uid]
	e.mu.Unlock()
	if !ok || a.snapshot().Phase != Running {
		return worker.Spec{}, runtime.Info{}, runtime.ErrNotFound
	}
	info, err := a.driver.Runtime.Inspect(ctx, a.id())
	return a.desired(), info, err
}

// Exec runs a program in a running worker, as its runtime does. runtime.ErrNotFound if
// the worker does not run here.
func (e *Engine) Exec(ctx context.Context, uid string, p runtime.Program) (code int, err error) {
	w, _, err := e.Inspect(ctx, uid)
	if err != nil {
		return 0, err
	}
	return e.driverOf(w).Runtime.Exec(ctx, w.ContainerID(), p)
}

// OpenLog opens the log of a worker, as its runtime does.
func (e *Engine) OpenLog(ctx context.Context, uid string, o runtime.LogOptions) (io.ReadCloser, error) {
	e.mu.Lock()
	a, ok := e.actors[uid]
	e.mu.Unlock()
	if !ok {
		return nil, runtime.ErrNoLog
	}
	return a.driver.Logs.Log(ctx, a.id(), o)
}

// Kill ends the processes of a running worker; its restart policy decides what happens
// then. runtime.ErrNotFound if it does not run here.
func (e *Engine) Kill(ctx context.Context, uid string) error {
	w, _, err := e.Inspect(ctx, uid)
	if err != nil {
		return err
	}
	return e.driverOf(w).Runtime.Signal(ctx, w.ContainerID(), syscall.SIGKILL, true)
}

// finished records that an actor's worker is removed, and schedules those that waited
// for it.
func (e *Engine) finished(done *actor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	done.gone = true
	if done.stray {
		delete(e.actors, done.desired().UID)
	}
	done.publish(func(s *State) {
		*s = State{
			Namespace: s.Namespace, Name: s.Name, UID: s.UID, TopologyID: s.TopologyID, Port: s.Port, ContainerID: s.ContainerID, Runtime: s.Runtime,
			Phase: Removed, Restarts: s.Restarts, LastExit: s.LastExit,
		}
	})
	if next := done.next; next != nil {
		e.register(newActor(e, next)).confirm(next.Spec)
	}
	for _, a := range e.actors {
		if !a.started && !a.gone {
			e.schedule(a)
		}
	}
}
