package runc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Delete removes the container: it kills what still runs of it and deletes
// every record of it but its logs. What is not there is no error.
// process.ErrStuck if a process does not end; then nothing of it is deleted.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deleteLimit)
	defer cancel()
	// If neither a record nor runc knows its processes, its cgroups do.
	rec, _ := r.find(ctx, id)
	if err := r.killAll(ctx, id, rec); err != nil {
		return fmt.Errorf("delete container %s: %w", id, r.nameStuck(id, err))
	}
	if err := r.deleteState(ctx, id); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	for _, group := range []string{containerGroup(id), monitorGroup(id)} {
		if err := r.cgroups.Remove(ctx, group); err != nil {
			return fmt.Errorf("delete container %s: %w", id, err)
		}
	}
	return errors.Join(r.settleLogs(id), r.forget(id))
}

// killAll ends the container's processes and then conmon, which is given the
// time to write down their output and end.
func (r *Runtime) killAll(ctx context.Context, id string, rec record) error {
	init, err := rec.Init.Open()
	if err != nil {
		return err
	}
	if init != nil {
		defer init.Close()
		// The first process of a pid namespace takes all others with it.
		if err := init.Kill(ctx, killLimit); err != nil {
			return err
		}
	}
	if err := r.cgroups.Kill(ctx, containerGroup(id)); err != nil {
		return err
	}
	conmon, err := rec.Conmon.Open()
	if err != nil {
		return err
	}
	if conmon != nil {
		defer conmon.Close()
		if err := endMonitor(ctx, rec, conmon); err != nil {
			return err
		}
	}
	if err := r.cgroups.Kill(ctx, monitorGroup(id)); err != nil {
		return err
	}
	// Once more: a conmon that was still creating has made processes since.
	return r.cgroups.Kill(ctx, containerGroup(id))
}

// endMonitor lets conmon write down what it has of a container that has ended,
// and kills it if it takes long or has no container.
func endMonitor(ctx context.Context, rec record, conmon *process.Handle) error {
	if rec.Init.PID != 0 {
		drain, cancel := context.WithTimeout(ctx, drainLimit)
		defer cancel()
		if err := conmon.Wait(drain); err == nil {
			return nil
		}
	}
	return conmon.Kill(ctx, killLimit)
}

// deleteState has runc delete what it knows. Nothing runs any more, so state
// that runc cannot read is deleted without it.
func (r *Runtime) deleteState(ctx context.Context, id string) error {
	if _, err := os.Lstat(r.stateDir(id)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := r.client(id).Delete(ctx, id)
	if ctx.Err() != nil {
		return err
	}
	if err := unmountBelow(r.stateDir(id)); err != nil {
		return err
	}
	if err := os.RemoveAll(r.stateDir(id)); err != nil {
		return fmt.Errorf("remove runc's state: %w", err)
	}
	return nil
}
