package engine

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// killWait is how long a container may take to end after SIGKILL before it is
// left to the runtime's deletion: its process may be stuck in the kernel.
const killWait = 5 * time.Second

// remove ends the worker's process and deletes everything of it from the node,
// but its artifacts. It can be repeated.
func (a *actor) remove(ctx context.Context) error {
	a.publish(func(s *State) { s.Phase = Stopping })
	if a.rec.Running {
		// One that outlives SIGKILL is left to the runtime's deletion, which
		// knows more ways and tells if it is stuck.
		if err := a.terminate(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return &StepError{StepStop, err}
		}
	}
	if err := a.teardown(ctx); err != nil {
		return err
	}
	e, id := a.engine, a.id()
	err := a.removeFiles(ctx)
	if err == nil {
		err = e.records.remove(id)
	}
	if err != nil {
		return &StepError{StepRemove, err}
	}
	e.Log.Info("worker removed", "worker", a.name(), "container", id)
	return nil
}

// removeFiles deletes the worker's files, and its logs. Those of a stray stay,
// since its worker may be wanted: then the next attempt cleans up, and whoever
// looks for why the last one ended finds them.
func (a *actor) removeFiles(ctx context.Context) error {
	e, id := a.engine, a.id()
	if a.stray {
		return e.Bundles.Sweep(ctx, id)
	}
	return errors.Join(e.Bundles.Remove(ctx, a.rec.Spec), a.driver.Logs.RemoveLogs(id))
}

// terminate sends SIGTERM, waits for the grace period, sends SIGKILL to all
// processes of the container and waits for its end.
func (a *actor) terminate(ctx context.Context) error {
	e, id := a.engine, a.id()
	exit, err := a.signalAndWait(ctx, syscall.SIGTERM, a.desired().GracePeriod)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		e.Log.Info("grace period is over", "worker", a.name(), "container", id)
		exit, err = a.signalAndWait(ctx, syscall.SIGKILL, killWait)
	}
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		exit = a.unobservedExit()
	case err != nil:
		return err
	}
	rec := a.rec
	rec.Running, rec.PID, rec.LastExit, rec.Exceeded = false, 0, &exit, ""
	a.publish(func(s *State) { s.PID, s.StartedAt, s.LastExit = 0, time.Time{}, &exit })
	return a.save()
}

// signalAndWait signals the container (all of it for SIGKILL) and waits for
// its end for at most limit.
func (a *actor) signalAndWait(ctx context.Context, sig syscall.Signal, limit time.Duration) (runtime.Exit, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := a.driver.Runtime.Signal(ctx, a.id(), sig, sig == syscall.SIGKILL); err != nil {
		return runtime.Exit{}, err
	}
	return a.driver.Runtime.Wait(ctx, a.id())
}
