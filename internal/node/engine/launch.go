package engine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Limits of steps that would otherwise wait for a program or the kernel.
const (
	teardownLimit = 2 * time.Minute
	createLimit   = time.Minute
)

// launch takes the worker from its image to a running process. If a step fails, launch
// undoes the earlier ones, and the launch is retried after a pause.
func (a *actor) launch(ctx context.Context) {
	a.publish(func(s *State) { s.Phase, s.Since = Localizing, time.Now() })
	err := a.launchSteps(a.wanted) //nolint:contextcheck // it ends with ctx
	if err == nil || !a.stopping() {
		a.engine.Observer.LaunchDone(err)
	}
	if err == nil || ctx.Err() != nil {
		return // it runs, or the next agent continues
	}
	if undo := a.teardown(ctx); !errors.Is(err, runtime.ErrUnavailable) || !errors.Is(undo, runtime.ErrUnavailable) {
		err = errors.Join(err, undo) // or it would say the same twice
	}
	if a.stopping() {
		return
	}
	rec := a.rec
	rec.Failures++
	rec.RetryAt = time.Now().Add(retryIn(err, rec.Failures))
	if !errors.Is(err, runtime.ErrUnknown) { // the next agent would not start with such a record
		err = errors.Join(err, a.save())
	}
	a.engine.Log.Warn("launch failed", "worker", a.name(), "container", a.id(), "retryAt", rec.RetryAt, "error", err)
	a.publish(func(s *State) {
		s.Phase, s.Err, s.RetryAt, s.Localized, s.Mounted = BackOff, err, rec.RetryAt, false, false
	})
}

// launchSteps takes the steps of a launch, one after the other.
func (a *actor) launchSteps(ctx context.Context) error {
	e, lap := a.engine, a.laps()
	w := a.desired() // no record has all of it
	if err := w.Validate(); err != nil {
		return &StepError{StepValidate, err}
	}
	driver, err := e.Runtimes.Of(w)
	if err == nil {
		err = driver.Off
	}
	if err != nil {
		return &StepError{StepValidate, err}
	}
	// The record comes first: nothing would clean up what it does not name.
	if err := a.save(); err != nil {
		return &StepError{StepRecord, err}
	}
	lap(StepRecord)
	image, err := a.localize(ctx)
	if err != nil {
		return &StepError{StepLocalize, err}
	}
	lap(StepLocalize)
	rootfs, err := a.mount(ctx, image)
	if err != nil {
		return &StepError{StepMount, err}
	}
	lap(StepMount)
	bundle, err := e.Bundles.Prepare(ctx, w, image, rootfs)
	if err != nil {
		return &StepError{StepPrepare, err}
	}
	lap(StepPrepare)
	return a.launchContainer(ctx, bundle, lap)
}

// laps returns a function that reports how long each step has taken.
func (a *actor) laps() func(Step) {
	last := time.Now()
	return func(s Step) {
		now := time.Now()
		a.engine.Log.Debug("step done", "container", a.id(), "step", s, "took", now.Sub(last))
		a.engine.Observer.StepDone(s, now.Sub(last))
		last = now
	}
}

func (a *actor) localize(ctx context.Context) (*manifest.LocalImage, error) {
	image, err := a.driver.Images.Localize(ctx, a.id(), a.rec.Spec.Image, a.progress())
	if err != nil {
		return nil, err
	}
	a.rec.Unverified = image.Unverified
	a.publish(func(s *State) {
		s.Phase, s.Localized, s.LocalizedBytes, s.Unverified = Mounting, true, s.TotalBytes, image.Unverified
	})
	return image, nil
}

// progress returns a function that publishes the bytes that are on the node, at most
// once a second.
func (a *actor) progress() func(done, total int64) {
	sometimes := rate.Sometimes{Interval: time.Second}
	return func(done, total int64) {
		sometimes.Do(func() {
			a.publish(func(s *State) { s.LocalizedBytes, s.TotalBytes = done, total })
		})
	}
}

func (a *actor) mount(ctx context.Context, image *manifest.LocalImage) (string, error) {
	a.rec.Layers = nil
	for _, l := range image.Layers {
		a.rec.Layers = append(a.rec.Layers, l.Digest)
	}
	if err := a.save(); err != nil {
		return "", err
	}
	rootfs, err := a.driver.Rootfs.Mount(ctx, a.id(), image.Layers)
	if err != nil {
		return "", err
	}
	a.publish(func(s *State) { s.Phase, s.Mounted = Starting, true })
	return rootfs, nil
}

// launchContainer creates the container and starts its process.
func (a *actor) launchContainer(ctx context.Context, bundle string, lap func(Step)) error {
	ctx, cancel := context.WithTimeout(ctx, createLimit)
	defer cancel()
	e, rec := a.engine, a.rec
	// Recorded before the attempt: one that fails may have made something.
	rec.NoContainer = false
	if err := a.save(); err != nil {
		return &StepError{StepRecord, err}
	}
	created, err := a.driver.Runtime.Create(ctx, a.id(), bundle, rec.Launched)
	if err != nil {
		return &StepError{StepCreate, err}
	}
	lap(StepCreate)
	// Recorded before the start: after a crash between the two, the runtime knows
	// whether the process was started.
	rec.Launched++
	rec.Running, rec.PID, rec.StartedAt, rec.RetryAt = true, created.PID, time.Now(), time.Time{}
	if err := a.save(); err != nil {
		return a.notStarted(StepRecord, err)
	}
	if err := a.driver.Runtime.Start(ctx, a.id()); err != nil {
		return a.notStarted(StepStart, err)
	}
	if rec.PID == 0 {
		a.learnPID(ctx)
	}
	lap(StepStart)
	e.Log.Info("worker runs", "worker", a.name(), "container", a.id(), "pid", rec.PID)
	a.publish(func(s *State) {
		s.Phase, s.PID, s.StartedAt, s.Restarts = Running, rec.PID, rec.StartedAt, rec.restarts()
		s.Err, s.RetryAt = nil, time.Time{}
	})
	return nil
}

// learnPID asks for the pid of a process that Start has made. Only people use it:
// without a pid, as of a process that has ended already, the worker is watched as any
// other.
func (a *actor) learnPID(ctx context.Context) {
	info, err := a.driver.Runtime.Inspect(ctx, a.id())
	if err == nil {
		a.rec.PID = info.Init.PID
		err = a.save()
	}
	if err != nil {
		a.engine.Log.Debug("pid is not known", "container", a.id(), "error", err)
	}
}

// notStarted takes back what the record says of a process that did not start, before
// the container is removed and the runtime no longer knows.
func (a *actor) notStarted(step Step, err error) error {
	a.rec.takeBack()
	return &StepError{step, errors.Join(err, a.save())}
}

// watch waits for the end of the worker's process and handles it.
func (a *actor) watch(ctx context.Context) {
	exit, err := a.awaitEnd(a.wanted) //nolint:contextcheck // it ends with ctx
	if a.stopping() {
		return // it still runs: it is to be stopped, or the agent ends
	}
	if errors.Is(err, runtime.ErrNotFound) {
		exit, err = a.unobservedExit(), nil
	}
	if err == nil {
		exit.StorageExceeded, exit.Storage = a.rec.Exceeded != "", a.rec.Exceeded
		a.engine.Log.Info("worker ended", "worker", a.name(), "container", a.id(), "code", exit.Code, "signal", exit.Signal, "oomKilled", exit.OOMKilled)
		a.engine.Observer.Ended(exit)
		if err = a.ended(exit); err == nil {
			err = a.teardown(ctx)
		} else {
			a.dirty = true // only the container knows how it ended, so far
		}
	}
	if err != nil && ctx.Err() == nil {
		a.rec.Failures++
		a.publish(func(s *State) { s.Err = &StepError{StepWatch, err} })
		a.sleep(retryIn(err, a.rec.Failures))
	}
}

// unobservedExit returns the end of a process that nothing observed: the machine was
// rebooted, or the state of the container was destroyed.
func (a *actor) unobservedExit() runtime.Exit {
	if last := a.rec.LastExit; last != nil && last.At.After(a.rec.StartedAt) {
		return *last
	}
	return runtime.Exit{Code: runtime.UnknownCode, At: time.Now()}
}

// retryTeardown repeats a teardown that has failed, or that had to wait for the record
// of the end: remains of one run must not meet the next, nor stay if there is none.
func (a *actor) retryTeardown(ctx context.Context) {
	err := a.save()
	if err == nil {
		err = a.teardown(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	a.rec.Failures++
	a.publish(func(s *State) { s.Err = err })
	a.sleep(retryIn(err, a.rec.Failures))
}

// teardown undoes a launch, in reverse order. It can be repeated. When the agent ends,
// it is left to the next agent.
func (a *actor) teardown(ctx context.Context) (err error) {
	defer func() { a.dirty = err != nil }()
	ctx, cancel := context.WithTimeout(ctx, teardownLimit)
	defer cancel()
	id := a.id()
	if err := a.deleteContainer(ctx); err != nil {
		return &StepError{StepRemove, err} // its mounts are in use
	}
	if err := a.driver.Rootfs.Unmount(ctx, id); err != nil {
		return &StepError{StepRemove, err}
	}
	a.driver.Images.Release(id)
	if last := a.rec.LastExit; last != nil && last.StorageExceeded {
		if err := a.engine.Bundles.Discard(ctx, a.rec.Spec); err != nil {
			return &StepError{StepRemove, err}
		}
	}
	return nil
}

// deleteContainer deletes the container, if there may be one. A runtime that has
// nothing of the worker is not asked: its daemon may never come.
func (a *actor) deleteContainer(ctx context.Context) error {
	if a.rec.NoContainer {
		return nil
	}
	if err := a.driver.Runtime.Delete(ctx, a.id()); err != nil {
		return err
	}
	a.rec.NoContainer = true
	if a.stopping() {
		return nil // the record is removed next
	}
	if err := a.save(); err != nil { // then the next agent deletes again
		a.engine.Log.Debug("deletion is not recorded", "container", a.id(), "error", err)
	}
	return nil
}
