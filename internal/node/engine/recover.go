package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Recover takes over what an earlier agent left on this node: workers whose
// process runs, or ended meanwhile, are adopted; what was under way is undone,
// to be started again; what no record names is removed. All that takes time is
// left to actors, so that nothing that is stuck keeps the others waiting; so is
// what a runtime has whose daemon is away. ctx is the life of every worker's
// goroutine. ErrNewerRecord is returned before anything is changed.
func (e *Engine) Recover(ctx context.Context) error {
	e.ctx = ctx
	found, unreadable, err := e.load()
	if err != nil {
		return err
	}
	present, err := e.containers(ctx, found)
	if err != nil {
		return err
	}
	left := map[string]remains{}
	for id, rec := range found {
		if left[id], err = e.adopt(rec, present); err != nil {
			return err
		}
	}
	strays := e.strays(ctx, found, unreadable, present)
	if err := e.recoverRoots(ctx, found, present); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, rec := range found {
		a := newActor(e, rec)
		a.remains = left[id]
		e.register(a)
	}
	for _, s := range strays {
		e.sweep(s)
	}
	for r := range e.Runtimes {
		if _, ok := present[r]; !ok {
			e.group.Go(func() { e.sweepLater(ctx, r) })
		}
	}
	e.removeOldLogs()
	return nil
}

// strayLogAge is how long the logs of a container without a record stay: its
// worker may be wanted, and somebody look for why it ended.
const strayLogAge = 7 * 24 * time.Hour

// removeOldLogs removes logs that were not removed with their worker, since it
// went while this node was down. The lock is held.
func (e *Engine) removeOldLogs() {
	var errs []error
	for _, driver := range e.Runtimes {
		ids, err := driver.Logs.OldLogs(time.Now().Add(-strayLogAge))
		errs = append(errs, err)
		for _, id := range ids {
			if !e.knows(id) {
				errs = append(errs, driver.Logs.RemoveLogs(id))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		e.Log.Warn("logs of workers that are gone may be left", "error", err)
	}
}

// knows tells whether a worker has this container. The lock is held.
func (e *Engine) knows(id string) bool {
	for _, a := range e.actors {
		if a.id() == id && !a.stray {
			return true
		}
	}
	return false
}

// containers are those of each runtime, by id.
type containers map[worker.Runtime]map[string]runtime.State

// containers asks every runtime for its containers. One that is away has no
// entry. One that is off has none, unless a record says that it may.
func (e *Engine) containers(ctx context.Context, found map[string]*record) (containers, error) {
	present := containers{}
	for r, driver := range e.Runtimes {
		if driver.Off != nil && !recorded(r, found) {
			present[r] = nil
			continue
		}
		list, err := containersOf(ctx, driver)
		switch {
		case errors.Is(err, runtime.ErrUnavailable):
			e.Log.Info("runtime is away", "runtime", r, "reason", err)
		case err != nil:
			return nil, err
		default:
			present[r] = list
		}
	}
	return present, nil
}

// recorded tells whether a record says that a runtime may have a container.
func recorded(r worker.Runtime, found map[string]*record) bool {
	for _, rec := range found {
		if rec.Spec.RuntimeName() == r && !rec.NoContainer {
			return true
		}
	}
	return false
}

// listLimit is how long a runtime may take to tell what it has.
const listLimit = 30 * time.Second

func containersOf(ctx context.Context, driver runtime.Driver) (map[string]runtime.State, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	list, err := driver.Runtime.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	byID := map[string]runtime.State{}
	for _, c := range list {
		byID[c.ID] = c
	}
	return byID, nil
}

// recoverRoots keeps the root file systems of containers, and undoes others.
// Several runtimes may have theirs made by one Rootfs.
func (e *Engine) recoverRoots(ctx context.Context, found map[string]*record, present containers) error {
	all := map[runtime.Rootfs]map[string][]digest.Digest{}
	for r, driver := range e.Runtimes {
		if all[driver.Rootfs] == nil {
			all[driver.Rootfs] = map[string][]digest.Digest{}
		}
		for id, layers := range live(r, found, present) {
			if all[driver.Rootfs][id] == nil { // the one that is recorded counts
				all[driver.Rootfs][id] = layers
			}
		}
	}
	for rootfs, live := range all {
		if err := rootfs.Recover(ctx, live); err != nil {
			return fmt.Errorf("recover root file systems: %w", err)
		}
	}
	return nil
}

// live are the containers of a runtime whose root must stay mounted, with its
// layers where a record tells them. A runtime that is away has what is recorded.
func live(r worker.Runtime, found map[string]*record, present containers) map[string][]digest.Digest {
	live := map[string][]digest.Digest{}
	list, answered := present[r]
	for id := range list {
		live[id] = nil
	}
	for id, rec := range found {
		if _, exists := list[id]; rec.Spec.RuntimeName() == r && (exists || !answered) {
			live[id] = rec.Layers
		}
	}
	return live
}

// strays returns all that is on this node and has no record, as workers of
// which only the port, the id and the runtime are known: containers,
// directories in the run root, and files of workers. Whose runtime is not
// known counts as Runc's, whose parts remove all but containers of others.
func (e *Engine) strays(ctx context.Context, found map[string]*record, unreadable []string, present containers) []worker.Spec {
	var known []worker.Spec
	for _, rec := range found {
		known = append(known, rec.Spec)
	}
	marked, err := e.Bundles.Recover(ctx, known)
	if err != nil {
		// Files that are left for another day hinder nobody.
		e.Log.Error("files of workers that are gone may be left", "error", err)
	}
	var strays []worker.Spec
	contained := map[string]bool{}
	for r, list := range present {
		for id := range list {
			if rec, ok := found[id]; !ok || rec.Spec.RuntimeName() != r {
				strays = e.appendStray(strays, id, r)
			}
			contained[id] = true
		}
	}
	ids := slices.Concat(unreadable, marked)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if found[id] == nil && !contained[id] {
			strays = e.appendStray(strays, id, worker.Runc)
		}
	}
	return strays
}

func (e *Engine) appendStray(strays []worker.Spec, id string, r worker.Runtime) []worker.Spec {
	w, err := worker.ParseContainerID(id)
	if err != nil {
		e.Log.Error("cannot remove what no record names", "container", id, "error", err)
		return strays
	}
	w.UID, w.Runtime = "stray/"+string(r)+"/"+id, r
	return append(strays, w)
}

// sweep removes what is left of a worker that no record names, as an actor of
// its own that others see only if it is in their way. The lock is held.
func (e *Engine) sweep(w worker.Spec) {
	e.Log.Info("remove what no record names", "container", w.ContainerID(), "runtime", w.Runtime)
	a := newActor(e, &record{Spec: w})
	a.stray = true
	a.stop()
	e.register(a)
}

// sweepLater removes the containers that no record names of a runtime that is
// away, when it is back.
func (e *Engine) sweepLater(ctx context.Context, r worker.Runtime) {
	var list map[string]runtime.State
	for failures := 1; ; failures++ {
		var err error
		if list, err = containersOf(ctx, e.Runtimes[r]); err == nil {
			break
		}
		if pause(ctx, retryIn(err, failures), nil); ctx.Err() != nil {
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := map[string]bool{}
	for _, a := range e.actors {
		if !a.gone && a.desired().RuntimeName() == r {
			known[a.id()] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(list)) {
		if !known[id] {
			for _, s := range e.appendStray(nil, id, r) {
				e.sweep(s)
			}
		}
	}
}

// load reads all records, and returns the ids of those that cannot be read:
// the cluster will say whether such a worker shall run.
func (e *Engine) load() (found map[string]*record, unreadable []string, err error) {
	ids, err := e.records.list()
	if err != nil {
		return nil, nil, err
	}
	found = map[string]*record{}
	var newer []error
	for _, id := range ids {
		rec, err := e.records.load(id)
		switch {
		case errors.Is(err, ErrNewerRecord):
			newer = append(newer, err)
		case err != nil:
			e.Log.Warn("drop unreadable record", "container", id, "error", err)
			unreadable = append(unreadable, id)
		default:
			found[id] = rec
		}
	}
	return found, unreadable, errors.Join(newer...)
}

// adopt settles a record with what its container is now. What was under way
// when the agent ended is left dirty: its actor undoes it, and begins anew
// later. If its runtime is away, its actor settles it.
func (e *Engine) adopt(rec *record, present containers) (remains, error) {
	list, ok := present[rec.Spec.RuntimeName()]
	id := rec.Spec.ContainerID()
	c, exists := list[id]
	if exists {
		rec.NoContainer = false
	}
	if exists || !ok {
		e.driverOf(rec.Spec).Images.Hold(id, rec.Layers)
	}
	if !ok {
		return remains{unsettled: true}, nil
	}
	if rec.Running && (!exists || c.Status != runtime.Created) {
		return remains{}, nil // if it has ended, the runtime tells how, or nobody saw it
	}
	if rec.Running { // put right before it is undone: then nobody can tell
		rec.takeBack()
		if err := e.records.save(rec); err != nil {
			return remains{}, err
		}
	}
	return remains{dirty: true}, nil
}

// settle adopts the worker once its runtime answers. What has run counts as
// running until then.
func (a *actor) settle(ctx context.Context) {
	for failures := 1; !a.stopping(); failures++ {
		list, err := containersOf(ctx, a.driver)
		var left remains
		if err == nil {
			left, err = a.engine.adopt(a.rec, containers{a.rec.Spec.RuntimeName(): list})
		}
		if err == nil {
			a.remains = left
			return
		}
		wait := retryIn(err, failures)
		if !a.rec.Running {
			a.publish(func(s *State) {
				s.Phase, s.Err, s.RetryAt = BackOff, &StepError{StepWatch, err}, time.Now().Add(wait)
			})
		}
		a.sleep(wait)
	}
}
