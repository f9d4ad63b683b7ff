package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// crowdProcess tells the time as its first act, and stays.
var crowdProcess = []string{"bash", "-c", strings.Join(stamp, " ") + "; exec sleep infinity"}

// crowdCreators is how many workers a crowd's creator asks for side by side.
const crowdCreators = 10

// workers creates n StormWorkers at once and waits until all run. It returns
// when the last of their processes did its first act.
func (a *arena) workers(ctx context.Context, n int) (crowd []*api.StormWorker, last time.Time, err error) {
	crowd = make([]*api.StormWorker, n)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.dismiss(context.WithoutCancel(ctx), crowd))
		}
	}()
	creators, createCtx := errgroup.WithContext(ctx)
	creators.SetLimit(crowdCreators)
	for i := range crowd {
		creators.Go(func() (err error) {
			crowd[i], err = a.stack.Apply(createCtx, fmt.Sprintf("crowd-%d", i), int32(7000+i), stack.Image, crowdProcess...) //nolint:gosec // a port
			return err
		})
	}
	if err := creators.Wait(); err != nil {
		return crowd, last, err
	}
	for _, w := range crowd {
		if err := a.stack.Await(ctx, w, api.ReasonRunning); err != nil {
			return crowd, last, err
		}
		at, err := a.stampOf(ctx, func() (string, error) { return logOf(a.stack, w) })
		if err != nil {
			return crowd, last, err
		}
		if at.After(last) {
			last = at
		}
	}
	return crowd, last, nil
}

// dismiss deletes workers at once and waits until all are gone.
func (a *arena) dismiss(ctx context.Context, crowd []*api.StormWorker) error {
	removers, ctx := errgroup.WithContext(ctx)
	for _, w := range crowd {
		if w != nil {
			removers.Go(func() error { return a.stack.Remove(ctx, w) })
		}
	}
	return removers.Wait()
}

// containers is workers by "docker run", each with a client of its own, as a
// supervisor that uses Docker has it.
func (a *arena) containers(ctx context.Context, n int) (ids []string, last time.Time, err error) {
	ids = make([]string, n)
	clients, runCtx := errgroup.WithContext(ctx)
	for i := range ids {
		clients.Go(func() (err error) {
			ids[i], err = a.docker.Run(runCtx, append([]string{"run", "--detach", "--network", "host", stack.Image}, crowdProcess...)...)
			return err
		})
	}
	if err := clients.Wait(); err != nil {
		return nil, last, err
	}
	for _, id := range ids {
		at, err := a.stampOf(ctx, func() (string, error) { return a.docker.Run(ctx, "logs", id) })
		if err != nil {
			return nil, last, err
		}
		if at.After(last) {
			last = at
		}
	}
	return ids, last, nil
}

// stampOf waits for the stamp in a process's output: a process that runs may
// not have come to its first act.
func (a *arena) stampOf(ctx context.Context, output func() (string, error)) (time.Time, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := output()
		if err != nil {
			return time.Time{}, err
		}
		if fields := strings.Fields(text); len(fields) > 0 {
			return stamped(fields[len(fields)-1])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// discard deletes containers.
func (a *arena) discard(ctx context.Context, ids []string) error {
	_, err := a.docker.Run(ctx, append([]string{"rm", "--force"}, ids...)...)
	return err
}
