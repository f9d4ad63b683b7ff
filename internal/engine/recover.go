package engine

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/container"
)

// Recover takes over what an earlier agent left on this node: workers whose
// process runs, or ended meanwhile, are adopted; what was under way is undone,
// to be begun anew; what no record names is removed. ctx is the life of every
// worker's goroutine.
func (e *Engine) Recover(ctx context.Context) error {
	e.ctx = ctx
	containers, err := e.containers(ctx)
	if err != nil {
		return err
	}
	found, err := e.load()
	if err != nil {
		return err
	}
	for id := range containers {
		if _, ok := found[id]; ok {
			continue
		}
		e.Log.Info("delete container that no record names", "container", id)
		if err := e.Runtime.Delete(ctx, id); err != nil {
			// One that is stuck must not keep the node from all others; the
			// next start of an agent tries again.
			e.Log.Error("delete container that no record names", "container", id, "error", err)
		}
	}
	live := e.adopt(ctx, found, containers)
	if err := e.Rootfs.Recover(ctx, live); err != nil {
		return fmt.Errorf("recover root file systems: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, rec := range found {
		e.begin(rec)
	}
	return nil
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

// load reads all records. One that cannot be read is dropped, and with it, by
// Recover, its container and mounts: the cluster will say whether it shall run.
func (e *Engine) load() (map[string]*record, error) {
	ids, err := e.records.list()
	if err != nil {
		return nil, err
	}
	found := map[string]*record{}
	for _, id := range ids {
		rec, err := e.records.load(id)
		if err != nil {
			e.Log.Warn("drop unreadable record", "container", id, "error", err)
			continue
		}
		found[id] = rec
	}
	return found, nil
}

// adopt settles each record with what its container is now, and returns the
// layers of those whose process was started.
func (e *Engine) adopt(ctx context.Context, found map[string]*record, containers map[string]container.State) map[string][]digest.Digest {
	live := map[string][]digest.Digest{}
	for id, rec := range found {
		c, exists := containers[id]
		switch {
		case rec.Running && exists && c.Status != container.Created:
			live[id] = rec.Layers
			e.Images.Hold(id, rec.Layers)
		case rec.Running && !exists:
			// Its end was seen by nobody, or it is told by the exit file.
		default:
			// Under way when the agent ended: undone now, begun anew later.
			if err := e.undo(ctx, id, rec); err != nil {
				e.Log.Warn("undo what was under way", "container", id, "error", err)
				rec.dirty = true
			}
		}
	}
	return live
}

// undo deletes a container whose process was not started, or has ended and was
// handled. What the record says is put right first: afterwards nobody can tell.
func (e *Engine) undo(ctx context.Context, id string, rec *record) error {
	if rec.Running {
		rec.takeBack()
		if err := e.records.save(rec); err != nil {
			return err
		}
	}
	if err := e.Runtime.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	return nil
}
