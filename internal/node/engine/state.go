package engine

import (
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Phase is where a worker is on its way on this node.
type Phase string

// Phases are all, in that order.
func Phases() []Phase {
	return []Phase{Waiting, Localizing, Mounting, Starting, Running, BackOff, Ended, Stopping, Removed}
}

// The phases of a worker, in their order.
const (
	// Waiting: another worker holds the port or the id.
	Waiting    Phase = "Waiting"
	Localizing Phase = "Localizing"
	Mounting   Phase = "Mounting"
	Starting   Phase = "Starting"
	Running    Phase = "Running"
	// BackOff: it has ended or could not be launched, and is tried again later.
	BackOff Phase = "BackOff"
	// Ended: it has ended and its restart policy leaves it so.
	Ended    Phase = "Ended"
	Stopping Phase = "Stopping"
	// Removed: nothing of it is left on this node.
	Removed Phase = "Removed"
)

// State is the state of one worker at one moment.
type State struct {
	Namespace, Name, UID string
	// TopologyID and Port are the worker's in Storm.
	TopologyID  string
	Port        int
	ContainerID string
	Runtime     worker.Runtime
	Phase       Phase
	// Since is when the launch under way, or the last one, began.
	Since time.Time
	// Localized and Mounted report whether the image is on the node and mounted.
	Localized, Mounted bool
	// Unverified is the number of layers that the store has no identity for.
	Unverified int
	// LocalizedBytes of TotalBytes of the image are here.
	LocalizedBytes, TotalBytes int64
	// PID and StartedAt are of the running process, else zero.
	PID       int
	StartedAt time.Time
	// Restarts counts the starts after the first.
	Restarts int
	LastExit *runtime.Exit
	// Err is why the last launch or removal failed; it is a *StepError. It is
	// nil once one succeeds.
	Err error
	// RetryAt is when a worker in BackOff is tried again.
	RetryAt time.Time
	// Blocker names the worker that one in Waiting waits for.
	Blocker string
}

// Step is a part of a launch or a removal.
type Step string

// The steps, in order.
const (
	StepValidate Step = "validate"
	StepRecord   Step = "record"
	StepLocalize Step = "localize"
	StepMount    Step = "mount"
	StepPrepare  Step = "prepare"
	StepCreate   Step = "create"
	StepStart    Step = "start"
	StepWatch    Step = "watch"
	StepStop     Step = "stop"
	StepRemove   Step = "remove"
)

// LaunchSteps are the steps of a launch, in that order.
func LaunchSteps() []Step {
	return []Step{StepValidate, StepRecord, StepLocalize, StepMount, StepPrepare, StepCreate, StepStart}
}

// StepError is the step that failed, and why.
type StepError struct {
	Step Step
	Err  error
}

// Error implements error.
func (e *StepError) Error() string { return string(e.Step) + ": " + e.Err.Error() }

// Unwrap implements errors.Unwrap.
func (e *StepError) Unwrap() error { return e.Err }
