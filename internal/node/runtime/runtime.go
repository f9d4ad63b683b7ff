// Package runtime has the interfaces of a container runtime: to fetch images, to mount
// root file systems of them, to run containers and to keep their logs. Package
// runtimetest has the contract as tests. Each runtime is its own package with a Driver.
package runtime

import (
	"context"
	"io"
	"syscall"

	"github.com/stormcell/stormcell/internal/node/process"
)

// Runtime runs containers that outlive this process. Its calls fail with
// ErrInvalidID for an id that is no container's; all but Wait fail with
// ErrUnavailable while its daemon is away, if it has one. Calls for different
// containers may run side by side, calls for one may not, but Wait, Signal and Exec.
type Runtime interface {
	// Create makes a container that waits for Start. attempt counts the
	// containers of this id from 0, for the name of its log file. A runtime
	// may make the process in Start, and return no pid here. What fails leaves
	// nothing behind: ErrExists if there is such a container, and ErrCreate if
	// the image or the bundle is at fault, which Start may also return.
	Create(ctx context.Context, id, bundle string, attempt int) (State, error)
	// Start lets the container's process run.
	Start(ctx context.Context, id string) error
	// Inspect returns where a started container is found. Its process may have
	// ended meanwhile. ErrNotFound if nothing is known of it.
	Inspect(ctx context.Context, id string) (Info, error)
	// Wait blocks until the container's first process has ended, and returns
	// how. It also works for a container that an earlier process created and
	// for one that has already ended. ErrNotFound if nothing is known of it.
	// A daemon that is away is not the end: Wait continues until it is back.
	Wait(ctx context.Context, id string) (Exit, error)
	// Signal sends a signal to the first process, or to all processes of the
	// container. A container that has ended is no error.
	Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error
	// Exec runs a program in a running container until it has ended, and returns its
	// exit code. The program has the name spaces, the environment, the system call
	// filter, the rights and the limits of a process that the bundle describes, and
	// is in the container's cgroup. What the container's processes have changed of
	// themselves does not count. Programs in one container run one after the other.
	// When ctx ends, the program may run on. ErrNotFound if the container does not run.
	Exec(ctx context.Context, id string, p Program) (code int, err error)
	// Delete removes the container, killing what still runs of it, and every
	// record of it but its logs. What is not there is no error;
	// process.ErrStuck if a process does not end.
	Delete(ctx context.Context, id string) error
	// List returns every container of this runtime, in no order.
	List(ctx context.Context) ([]State, error)
}

// Status is where a container is in its life.
type Status string

// The statuses, as the OCI runtime specification names them.
const (
	Created Status = "created"
	Running Status = "running"
	Stopped Status = "stopped"
)

// State is a container as its runtime sees it.
type State struct {
	ID     string
	Status Status
	// PID is the container's first process in the host's namespace; 0 when
	// it is stopped.
	PID int
}

// Info is where a running container is found from outside.
type Info struct {
	// Init is the container's first process.
	Init process.Process
	// Cgroup is the container's cgroup below the parent of all.
	Cgroup string
	// Storage are directories on the node's disks that the runtime has made for the
	// container by itself, and that grow with what it writes. What is above each is
	// root's.
	Storage []string
}

// Program is what runs in a container beside its first process.
type Program struct {
	// Args are the program, which is looked up in the container's PATH, and its
	// arguments.
	Args []string
	// Stdin is what it can read when Started has returned.
	Stdin io.Reader
	// Output receives what it prints to its standard output.
	Output io.Writer
	// Started is called when the program runs. If it fails, the program reads the
	// end of a file, and Exec returns that error.
	Started func(process.Process) error
}
