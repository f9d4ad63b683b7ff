package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/container"
	"github.com/stormcell/stormcell/internal/worker"
)

// Recover takes over what an earlier agent left on this node: workers whose
// process runs, or ended meanwhile, are adopted; what was under way is undone,
// to be begun anew; what no record names is removed. All that takes time is
// left to actors, so that nothing that is stuck keeps the others waiting. ctx
// is the life of every worker's goroutine. ErrNewerRecord is returned before
// anything is changed.
func (e *Engine) Recover(ctx context.Context) error {
	e.ctx = ctx
	found, left, err := e.load()
	if err != nil {
		return err
	}
	containers, err := e.containers(ctx)
	if err != nil {
		return err
	}
	live, err := e.adopt(found, containers)
	if err != nil {
		return err
	}
	strays := e.strays(ctx, found, slices.Concat(left, slices.Collect(maps.Keys(containers))))
	for _, id := range strays {
		if _, exists := containers[id]; exists {
			live[id] = nil // its root stays mounted while it runs
		}
	}
	if err := e.Rootfs.Recover(ctx, live); err != nil {
		return fmt.Errorf("recover root file systems: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, rec := range found {
		e.begin(rec)
	}
	for _, id := range strays {
		e.sweep(id)
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
	ids, err := e.Runtime.OldLogs(time.Now().Add(-strayLogAge))
	for _, id := range ids {
		if !e.knows(id) {
			err = errors.Join(err, e.Runtime.RemoveLogs(id))
		}
	}
	if err != nil {
		e.Log.Warn("logs of workers that are gone may be left", "error", err)
	}
}

// knows tells whether a worker has this container. The lock is held.
func (e *Engine) knows(id string) bool {
	for _, a := range e.actors {
		if a.id() == id && !a.rec.stray {
			return true
		}
	}
	return false
}

// strays returns the ids of all that is on this node and has no record: of
// containers, of directories in the run root, and of files of workers.
func (e *Engine) strays(ctx context.Context, found map[string]*record, ids []string) []string {
	var known []worker.Spec
	for _, rec := range found {
		known = append(known, rec.Spec)
	}
	left, err := e.Bundles.Recover(ctx, known)
	if err != nil {
		// Files that are left for another day hinder nobody.
		e.Log.Error("files of workers that are gone may be left", "error", err)
	}
	ids = append(ids, left...)
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { _, ok := found[id]; return ok })
}

// sweep removes what is left of a container that no record names, as an actor
// of its own that others see only if it is in their way. The lock is held.
func (e *Engine) sweep(id string) {
	w, err := worker.ParseContainerID(id)
	if err != nil {
		e.Log.Error("cannot remove what no record names", "container", id, "error", err)
		return
	}
	e.Log.Info("remove what no record names", "container", id)
	w.UID = "stray/" + id
	a := newActor(e, &record{Spec: w, stray: true})
	a.stop()
	e.add(a)
}

func (e *Engine) containers(ctx context.Context) (map[string]container.State, error) {
	list, err := e.Runtime.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	byID := map[string]container.State{}
	for _, c := range list {
		byID[c.ID] = c
	}
	return byID, nil
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

// adopt settles each record with what its container is now, and returns the
// layers of those that have one. What was under way when the agent ended is
// left dirty: its actor undoes it, and begins anew later.
func (e *Engine) adopt(found map[string]*record, containers map[string]container.State) (map[string][]digest.Digest, error) {
	live := map[string][]digest.Digest{}
	for id, rec := range found {
		c, exists := containers[id]
		if exists {
			live[id] = rec.Layers
			e.Images.Hold(id, rec.Layers)
		}
		if rec.Running && (!exists || c.Status != container.Created) {
			continue // if it has ended, the exit file tells, or nobody saw it
		}
		rec.dirty = true
		if rec.Running { // put right before it is undone: then nobody can tell
			rec.takeBack()
			if err := e.records.save(rec); err != nil {
				return nil, err
			}
		}
	}
	return live, nil
}
