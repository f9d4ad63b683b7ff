package profile

import (
	"context"
	"errors"
	"fmt"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Limits on what a script may use of the node, beside what its worker may.
const (
	maxPids   = 512
	maxMemory = 1 << 30
	// maxCPU is one core.
	maxCPU = cgroup.CPUPeriod
)

// hold opens the first process of a container: it says when the worker ends. A pid may
// become another process's at any time, so the process is known by its start time, and
// must be in the container's cgroup.
func (p *Profiler) hold(c runtime.Info) (*process.Handle, error) {
	init, err := c.Init.Open()
	if err != nil {
		return nil, err
	}
	if init == nil {
		return nil, ErrGone
	}
	if err := p.member(c, c.Init.PID); err != nil {
		init.Close()
		return nil, err
	}
	if init.Ending() {
		init.Close()
		return nil, ErrGone
	}
	return init, nil
}

// member returns ErrForeign for a process that is not in a container's cgroup.
func (p *Profiler) member(c runtime.Info, pid int) error {
	members, err := p.options.Cgroups.Members(c.Cgroup)
	if err == nil && !members[pid] {
		err = fmt.Errorf("%w: process %d is not in cgroup %s", ErrForeign, pid, c.Cgroup)
	}
	return err
}

// confine puts a script, and so all that it will start, into a cgroup of its own. There
// it is found however the agent ends, and what it uses is not the worker's. All that
// it has started ends with it: who holds its output would keep it open.
func (p *Profiler) confine(ctx context.Context, t Target, script process.Process) error {
	// A bash of the image's that does not wait for this may have started others. They
	// are in the worker's cgroup, as all that the worker starts.
	if err := p.member(t.Container, script.PID); err != nil {
		return err
	}
	h, err := script.Open()
	if err != nil {
		return err
	}
	if h == nil {
		return errors.New("it has ended too soon")
	}
	tree, name := p.options.Cgroups, group(t.ID)
	err = tree.Join(name, h.PID())
	if err == nil {
		err = errors.Join(
			tree.Limit(name, cgroup.Pids, maxPids),
			tree.Limit(name, cgroup.Memory, maxMemory),
			tree.Limit(name, cgroup.CPU, maxCPU.Microseconds()),
		)
	}
	if err != nil {
		h.Close()
		return err
	}
	go func() {
		defer h.Close()
		if h.Wait(ctx) == nil {
			_ = tree.Kill(ctx, name) // the sweep tells what is left
		}
	}()
	return nil
}
