// Package runtime has the words that every container runtime of a node uses:
// what state a container is in and how it ended.
package runtime

import (
	"errors"
	"time"

	"github.com/stormcell/stormcell/internal/node/process"
)

// Errors of a runtime that its callers tell apart.
var (
	// ErrNotFound is a container that the runtime does not know (any more).
	ErrNotFound = errors.New("no such container")
	// ErrUnavailable is a runtime that cannot be asked now: its daemon is away.
	// What it runs may run on.
	ErrUnavailable = errors.New("runtime unavailable")
)

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

// Exit tells how a container ended.
type Exit struct {
	// Code is the exit code: 128 plus Signal where a signal ended it, and
	// UnknownCode where nobody was there to see it.
	Code int `json:"code"`
	// Signal is the number of the signal that ended it, or 0.
	Signal int `json:"signal,omitempty"`
	// OOMKilled is true if the kernel killed a process of it for its memory limit.
	OOMKilled bool `json:"oomKilled,omitempty"`
	// PidsLimited is true if it was denied a process or thread by its limit on them.
	PidsLimited bool `json:"pidsLimited,omitempty"`
	// At is when it ended.
	At time.Time `json:"at"`
}

// UnknownCode is the exit code of a container whose end nobody saw: its
// monitor was killed, or the machine was rebooted.
const UnknownCode = -1

// ErrNoLog is a log that is not there: of a container that has not started yet,
// or of an attempt before its first.
var ErrNoLog = errors.New("no log")

// LogOptions say which part of a container's log is wanted, and how.
type LogOptions struct {
	// Follow goes on until the container has ended.
	Follow bool
	// Previous asks for the attempt before the newest one.
	Previous bool
	// Timestamps puts the time of each line before it, as RFC 3339, and a blank.
	Timestamps bool
	// TailLines is how many lines before the end to begin; nil for the first.
	TailLines *int64
}
