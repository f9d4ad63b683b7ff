package runc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// List returns every container of this runtime, unordered. A container that has records
// but that runc does not know (any more) is listed as stopped, so that it is deleted.
func (r *Runtime) List(ctx context.Context) ([]runtime.State, error) {
	found := map[string]runtime.State{}
	if err := r.listLeftovers(found); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(r.stateRoot(), 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	listed, err := r.client("").List(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range listed {
		if c == nil || !worker.ValidContainerID(c.ID) { // go-runc passes a null on
			continue
		}
		status := runtime.Status(c.Status)
		if status == runtime.Created && r.started(c.ID, c.Pid) {
			status = runtime.Running
		}
		if status != runtime.Created && status != runtime.Stopped {
			status = runtime.Running // a paused one runs, as far as we care
		}
		found[c.ID] = runtime.State{ID: c.ID, Status: status, PID: c.Pid}
	}
	states := make([]runtime.State, 0, len(found))
	for _, s := range found {
		states = append(states, s)
	}
	return states, nil
}

// listLeftovers enters every container that has a directory of runc's, of
// conmon's, an exit file or a monitor's cgroup: that outlives whatever is
// deleted from the run root. A container's cgroup alone may be another
// program's, such as Storm's own supervisor names them.
func (r *Runtime) listLeftovers(found map[string]runtime.State) error {
	for _, dir := range []string{r.stateRoot(), r.exitDir(), r.workersDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("list containers: %w", err)
		}
		for _, e := range entries {
			id := e.Name()
			if dir == r.workersDir() {
				// Others keep things there too; only this is the runtime's.
				if _, err := os.Lstat(r.persistDir(id)); err != nil {
					continue
				}
			}
			if worker.ValidContainerID(id) {
				found[id] = runtime.State{ID: id, Status: runtime.Stopped}
			}
		}
	}
	return r.listMonitors(found)
}

// listMonitors enters every container that has a monitor's cgroup.
func (r *Runtime) listMonitors(found map[string]runtime.State) error {
	groups, err := r.cgroups.Groups(monitorGroup(""))
	for _, g := range groups {
		if id := strings.TrimPrefix(g, monitorGroup("")); worker.ValidContainerID(id) {
			found[id] = runtime.State{ID: id, Status: runtime.Stopped}
		}
	}
	return err
}
