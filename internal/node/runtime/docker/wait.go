package docker

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// pauses are those before dockerd, which is away, is asked again.
var pauses = backoff.Policy{First: 100 * time.Millisecond, Last: 5 * time.Second}

// Wait blocks until the container's first process has ended, and returns how. A dockerd
// that is away is not the end: the container may still run, and dockerd reports it when
// it is back. The container's state decides, not Docker's answer to the wait.
func (r *Runtime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	for failures := 0; ; {
		c, err := r.find(ctx, id)
		if err == nil {
			if status := statusOf(c.State.Status); status == runtime.Stopped {
				exit := exitOf(c.State)
				exit.OOMKilled = exit.OOMKilled || r.lateOOM(ctx, c, exit)
				return exit, nil
			} else if status == runtime.Created {
				return runtime.Exit{}, fmt.Errorf("%w: %s was never started", runtime.ErrNotFound, id)
			}
			failures = 0
			if err = r.waitOnce(ctx, c.ID); err == nil {
				continue
			}
		}
		failures++
		if err := retry(ctx, err, pauses.Pause(failures)); err != nil {
			return runtime.Exit{}, err
		}
	}
}

// waitOnce returns nil when Docker says that the container has ended.
func (r *Runtime) waitOnce(ctx context.Context, dockerID string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := r.api.ContainerWait(ctx, dockerID, client.ContainerWaitOptions{Condition: api.WaitConditionNotRunning})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		// Whatever has cut the answer short, dockerd knows better.
		return fmt.Errorf("%w: %w", runtime.ErrUnavailable, r.explain(err))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// oomDelay is how long after the end of a container Docker may learn that the
// kernel killed in it for its memory limit.
const oomDelay = 300 * time.Millisecond

// lateOOM reports whether a container that SIGKILL ended has an event of Docker's
// that it ran out of memory. dockerd hears of that and of the end on two ways; if
// it hears of the end first, the state never says OOMKilled.
func (r *Runtime) lateOOM(ctx context.Context, c api.InspectResponse, exit runtime.Exit) bool {
	if exit.Signal != int(syscall.SIGKILL) || c.HostConfig == nil || c.HostConfig.Memory == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	found := r.api.Events(ctx, client.EventsListOptions{
		Since: c.State.StartedAt, Until: time.Now().Add(oomDelay).Format(time.RFC3339Nano),
		Filters: client.Filters{}.Add("type", "container").Add("container", c.ID).Add("event", "oom"),
	})
	select {
	case <-found.Messages:
		return true
	case <-found.Err: //nolint:errcheck // io.EOF; with any other, nobody knows more than the state said
		return false
	}
}

// retry pauses if dockerd is away, and returns any other error.
func retry(ctx context.Context, err error, pause time.Duration) error {
	if !errors.Is(err, runtime.ErrUnavailable) {
		return err
	}
	return backoff.Wait(ctx, pause)
}

// exitOf reads the end of a container.
func exitOf(s *api.State) runtime.Exit {
	exit := runtime.ExitOf(s.ExitCode)
	exit.OOMKilled, exit.At = s.OOMKilled, time.Now()
	if at, err := time.Parse(time.RFC3339Nano, s.FinishedAt); err == nil && at.Year() > 1 {
		exit.At = at
	}
	return exit
}
