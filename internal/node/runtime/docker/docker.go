// Package docker runs workers in Docker's containers, through the Engine API on its
// unix socket. Docker pulls the image and mounts it, watches the container and keeps its
// exit code. Containers outlive the agent, and dockerd too if live-restore is on.
//
//	bundle's container.json ──Create──> container ──Start──> process
//	                                     name: the worker's id; labels: its owner
package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// callLimit is how long dockerd may take to answer what needs no program or
// registry.
const callLimit = 30 * time.Second

// Daemon is the dockerd of this node. It need not run yet, or be installed.
type Daemon struct {
	api    *client.Client
	socket string
}

// New returns the dockerd that listens on a unix socket. It is asked for
// nothing yet.
func New(socket string) (*Daemon, error) {
	api, err := client.New(client.WithHost("unix://"+socket), client.WithUserAgent("stormcell-node-agent"))
	if err != nil {
		return nil, fmt.Errorf("set up the client of Docker at %s: %w", socket, err)
	}
	return &Daemon{api: api, socket: socket}, nil
}

// Ping asks dockerd whether it is there.
func (d *Daemon) Ping(ctx context.Context) error {
	_, err := call(ctx, d, listLimit, func(ctx context.Context) (client.PingResult, error) {
		return d.api.Ping(ctx, client.PingOptions{})
	})
	return err
}

// call asks dockerd for something that must not take longer than limit.
func call[T any](ctx context.Context, d *Daemon, limit time.Duration, ask func(context.Context) (T, error)) (T, error) {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := ask(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return answer, fmt.Errorf("%w: dockerd at %s has not answered for %s; check its log", runtime.ErrUnavailable, d.socket, limit)
	}
	return answer, d.explain(err)
}

// explain puts an error of the client into the words of package runtime, with
// the cure where dockerd is away.
func (d *Daemon) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", runtime.ErrNotFound, err)
	case !client.IsErrConnectionFailed(err) && !errdefs.IsUnavailable(err):
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no socket %s: install Docker on this node and start it, or set stormcell.docker.host", runtime.ErrUnavailable, d.socket)
	}
	return fmt.Errorf("%w: nothing answers on %s: start dockerd on this node", runtime.ErrUnavailable, d.socket)
}
