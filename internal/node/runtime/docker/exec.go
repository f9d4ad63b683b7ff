package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Exec runs a program in a container by Docker's exec, which gives it all that the
// container's configuration gives the container's own process.
func (r *Runtime) Exec(ctx context.Context, id string, p runtime.Program) (int, error) {
	c, err := r.find(ctx, id)
	if err != nil {
		return 0, err
	}
	e, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ExecCreateResult, error) {
		return r.api.ExecCreate(ctx, c.ID, client.ExecCreateOptions{
			Cmd: p.Args, WorkingDir: "/", AttachStdin: true, AttachStdout: true, AttachStderr: true,
		})
	})
	if errdefs.IsConflict(err) { // it does not run
		return 0, fmt.Errorf("%w: %w", runtime.ErrNotFound, err)
	}
	if err != nil {
		return 0, fmt.Errorf("run a program in container %s: %w", id, err)
	}
	code, err := r.attach(ctx, e.ID, p)
	if err != nil {
		return 0, fmt.Errorf("run a program in container %s: %w", id, err)
	}
	return code, nil
}

// attach starts a program that is created, and returns its exit code.
func (r *Runtime) attach(ctx context.Context, exec string, p runtime.Program) (int, error) {
	streams, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ExecAttachResult, error) {
		return r.api.ExecAttach(ctx, exec, client.ExecAttachOptions{})
	})
	if err != nil {
		return 0, err
	}
	var copyErr error
	printed, finish := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer finish()
		_, copyErr = stdcopy.StdCopy(p.Output, io.Discard, streams.Reader)
	}()
	defer func() {
		streams.Close()
		<-printed.Done() // nothing is written to the output any more
	}()
	defer context.AfterFunc(ctx, streams.Close)()
	started, err := r.awaitProgram(printed, exec)
	if err == nil {
		err = p.Started(started)
	}
	if err != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	go func() {
		_, _ = io.Copy(streams.Conn, p.Stdin) // it need not read all
		_ = streams.CloseWrite()
	}()
	<-printed.Done()
	if err := errors.Join(ctx.Err(), copyErr); err != nil {
		return 0, err
	}
	state, err := r.poll(ctx, exec, func(s client.ExecInspectResult) bool { return !s.Running })
	return state.ExitCode, err
}

// errNotStarted is a program that was not there, or not long enough to be seen.
var errNotStarted = errors.New("it ended before it began to read")

// awaitProgram waits until Docker says which process a program is. printed ends when
// nothing prints any more to the program's output: then it has ended, or Docker has
// not started it and has printed why.
func (r *Runtime) awaitProgram(printed context.Context, exec string) (process.Process, error) {
	state, err := r.poll(printed, exec, func(s client.ExecInspectResult) bool { return s.PID > 0 })
	if printed.Err() != nil {
		return process.Process{}, errNotStarted
	}
	if err != nil {
		return process.Process{}, err
	}
	p, err := process.Identify(state.PID)
	if err != nil {
		return p, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	return p, nil
}

// poll asks Docker for the state of a program until it is as is wanted.
func (r *Runtime) poll(ctx context.Context, exec string, wanted func(client.ExecInspectResult) bool) (client.ExecInspectResult, error) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		state, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ExecInspectResult, error) {
			return r.api.ExecInspect(ctx, exec, client.ExecInspectOptions{})
		})
		if err != nil || wanted(state) {
			return state, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return state, ctx.Err()
		}
	}
}
