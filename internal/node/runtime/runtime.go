// Package runtime has the words that every container runtime of a node uses:
// what state a container is in and how it ended.
package runtime

import "github.com/stormcell/stormcell/internal/node/process"

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

// Info tells where a container that runs is found from outside.
type Info struct {
	// Init is the container's first process.
	Init process.Process
	// Cgroup is the container's cgroup below the parent of all.
	Cgroup string
}
