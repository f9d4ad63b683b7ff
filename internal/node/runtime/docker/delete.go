package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// deleteLimit is how long a removal may take: Docker itself gives up waiting
// for a process that it has killed after about 12 s.
const deleteLimit = 30 * time.Second

// Delete removes the container and the volumes that Docker has made for it,
// killing what still runs. What is not there is no error. process.ErrStuck if
// a process does not end.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	c, err := r.find(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = call(ctx, r.Daemon, deleteLimit, func(ctx context.Context) (client.ContainerRemoveResult, error) {
		return r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	})
	switch {
	case err == nil, errors.Is(err, runtime.ErrNotFound):
		return nil
	case errors.Is(err, runtime.ErrUnavailable), ctx.Err() != nil:
		return err
	case !errdefs.IsConflict(err) && r.runs(ctx, id):
		return fmt.Errorf("delete container %s: %w: %w", id, process.ErrStuck, err)
	}
	return fmt.Errorf("delete container %s: %w", id, err)
}

// runs tells whether a container's process runs, as Docker knows.
func (r *Runtime) runs(ctx context.Context, id string) bool {
	c, err := r.find(ctx, id)
	return err == nil && statusOf(c.State.Status) == runtime.Running
}
