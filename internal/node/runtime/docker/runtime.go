package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Options of a Runtime.
type Options struct {
	// RunRoot is the agent's run root, which only root can read. It distinguishes
	// the containers of this agent from those of others.
	RunRoot string
	// CgroupRoot is where the host's cgroups are mounted.
	CgroupRoot string
	// CgroupParent is the parent of all cgroups of containers, absolute below
	// CgroupRoot.
	CgroupParent string
}

// Runtime runs containers. Calls for different containers may run side by
// side, calls for one may not (but Wait and Signal). It holds no state.
type Runtime struct {
	*Daemon
	options Options
	cgroups *cgroup.Tree
}

// NewRuntime returns a runtime.
func NewRuntime(d *Daemon, o Options) *Runtime {
	return &Runtime{Daemon: d, options: o, cgroups: cgroup.New(o.CgroupRoot, o.CgroupParent)}
}

// Create makes a container of the bundle's configuration, and writes Docker's
// id of it where people look for it. Errors wrap runtime.ErrCreate if the
// image or the bundle is at fault, and runtime.ErrExists if the worker's id is
// another container's name.
func (r *Runtime) Create(ctx context.Context, id, dir string, _ int) (runtime.State, error) {
	c, err := readConfiguration(id, dir)
	if err != nil {
		return runtime.State{}, err
	}
	created, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ContainerCreateResult, error) {
		return r.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: c.Name, Config: &c.Config, HostConfig: &c.Host})
	})
	switch {
	case errdefs.IsConflict(err):
		return runtime.State{}, fmt.Errorf("%w: %s; if it is not stormcell's, remove it with docker rm: %w", runtime.ErrExists, c.Name, err)
	case err != nil:
		return runtime.State{}, refusal(err)
	}
	if err := bundle.PutFile(c.Host.ContainerIDFile, []byte(created.ID)); err != nil {
		return runtime.State{}, errors.Join(err, r.Delete(context.WithoutCancel(ctx), id))
	}
	return runtime.State{ID: id, Status: runtime.Created}, nil
}

// readConfiguration reads what Form has made for container id.
func readConfiguration(id, dir string) (Configuration, error) {
	var c Configuration
	content, err := os.ReadFile(filepath.Join(dir, fileName))
	if err == nil {
		err = json.Unmarshal(content, &c)
	}
	if err == nil {
		err = runtime.CheckID(id)
	}
	if err == nil && c.Config.Labels[labelID] != id {
		err = fmt.Errorf("it is that of %q", c.Config.Labels[labelID])
	}
	if err != nil {
		return c, fmt.Errorf("configuration of container %s: %w", id, err)
	}
	return c, nil
}

// Start lets the container's process run.
func (r *Runtime) Start(ctx context.Context, id string) error {
	c, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	_, err = call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ContainerStartResult, error) {
		return r.api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
	})
	return refusal(err)
}

// refusal is runtime.ErrCreate for what dockerd has refused, with the cure of what
// most often goes wrong; other errors stay as they are.
func refusal(err error) error {
	switch {
	case err == nil, errors.Is(err, runtime.ErrUnavailable), errors.Is(err, runtime.ErrNotFound),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case strings.Contains(err.Error(), "systemd cgroup"):
		return fmt.Errorf("%w: %w; stormcell needs Docker's other cgroup driver: \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in daemon.json", runtime.ErrCreate, err)
	}
	return fmt.Errorf("%w: %s", runtime.ErrCreate, runtime.Explain(err.Error()))
}

// labels select the containers of this agent; those of one worker, if id is one.
func (r *Runtime) labels(id string) client.Filters {
	f := client.Filters{}.Add("label", labelRunRoot+"="+r.options.RunRoot)
	if id != "" {
		f.Add("label", labelID+"="+id)
	}
	return f
}

// find returns a worker's container, or runtime.ErrNotFound.
func (r *Runtime) find(ctx context.Context, id string) (api.InspectResponse, error) {
	if err := runtime.CheckID(id); err != nil {
		return api.InspectResponse{}, err
	}
	found, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ContainerListResult, error) {
		return r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.labels(id)})
	})
	if err != nil {
		return api.InspectResponse{}, fmt.Errorf("look for container %s: %w", id, err)
	}
	if len(found.Items) == 0 {
		return api.InspectResponse{}, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	}
	c, err := call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ContainerInspectResult, error) {
		return r.api.ContainerInspect(ctx, found.Items[0].ID, client.ContainerInspectOptions{})
	})
	if err != nil {
		return api.InspectResponse{}, fmt.Errorf("inspect container %s: %w", id, err)
	}
	if c.Container.State == nil {
		return api.InspectResponse{}, fmt.Errorf("inspect container %s: Docker reports no state", id)
	}
	return c.Container, nil
}

// Signal sends sig to the container's first process; the end of that one is
// the end of all. A container that has ended is no error.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal, _ bool) error {
	c, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	_, err = call(ctx, r.Daemon, callLimit, func(ctx context.Context) (client.ContainerKillResult, error) {
		return r.api.ContainerKill(ctx, c.ID, client.ContainerKillOptions{Signal: unix.SignalName(sig)})
	})
	if errdefs.IsConflict(err) { // it does not run
		return nil
	}
	return err
}

// Inspect returns where the processes of a running container are;
// runtime.ErrNotFound for any other.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Info, error) {
	c, err := r.find(ctx, id)
	if err != nil {
		return runtime.Info{}, err
	}
	ended := fmt.Errorf("%w: %s does not run", runtime.ErrNotFound, id)
	if c.State.Pid <= 0 {
		return runtime.Info{}, ended
	}
	p, err := process.Identify(c.State.Pid)
	if err != nil {
		return runtime.Info{}, errors.Join(ended, err)
	}
	// What has the pid now may be another process, but not in this cgroup.
	members, err := r.cgroups.Members(c.ID)
	if err != nil {
		return runtime.Info{}, err
	}
	if !members[p.PID] {
		return runtime.Info{}, ended
	}
	return runtime.Info{Init: p, Cgroup: c.ID, Storage: storage(c)}, nil
}

// storage is where Docker keeps what a container writes: its log, its writable layer, if
// the storage driver says where that is, and the volumes that its image declares.
func storage(c api.InspectResponse) []string {
	var dirs []string
	if c.LogPath != "" {
		dirs = append(dirs, filepath.Dir(c.LogPath))
	}
	if c.GraphDriver != nil && c.GraphDriver.Data["UpperDir"] != "" {
		dirs = append(dirs, c.GraphDriver.Data["UpperDir"])
	}
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume && m.Source != "" {
			dirs = append(dirs, m.Source)
		}
	}
	return dirs
}

// listLimit is how long dockerd may take to answer an agent that begins, or that
// asks whether it is there.
const listLimit = 5 * time.Second

// List returns every container of this agent.
func (r *Runtime) List(ctx context.Context) ([]runtime.State, error) {
	found, err := call(ctx, r.Daemon, listLimit, func(ctx context.Context) (client.ContainerListResult, error) {
		return r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.labels("")})
	})
	if err != nil {
		return nil, err
	}
	var states []runtime.State
	for _, c := range found.Items {
		if id := c.Labels[labelID]; worker.ValidContainerID(id) {
			states = append(states, runtime.State{ID: id, Status: statusOf(c.State)})
		}
	}
	return states, nil
}

func statusOf(s api.ContainerState) runtime.Status {
	switch s {
	case api.StateCreated:
		return runtime.Created
	case api.StateRunning, api.StatePaused, api.StateRestarting:
		return runtime.Running
	default:
		return runtime.Stopped
	}
}
