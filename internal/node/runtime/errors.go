package runtime

import (
	"errors"
	"fmt"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// Errors of a runtime that callers distinguish, beside process.ErrStuck.
var (
	// ErrInvalidID is an id that is no container's, and so no name of a directory.
	ErrInvalidID = errors.New("invalid container id")
	// ErrNotFound is a container that the runtime does not know (any more).
	ErrNotFound = errors.New("no such container")
	// ErrExists is a container that Create would have to replace.
	ErrExists = errors.New("container exists")
	// ErrCreate is a container that the runtime refused to make or start,
	// since the image or the bundle is at fault. The text says why.
	ErrCreate = errors.New("create container")
	// ErrNoLog is a log that is not there: of a container that has not started
	// yet, or of an attempt before its first.
	ErrNoLog = errors.New("no log")
	// ErrOff is a runtime that the node's configuration does not turn on.
	ErrOff = errors.New("runtime is off")
	// ErrUnavailable is a runtime that cannot be asked now: its daemon is away.
	// What it runs may run on.
	ErrUnavailable = errors.New("runtime unavailable")
)

// ImageError is a kind of errors of a runtime that gets images itself: it has
// not got one, and somebody must act. Values of it are sentinels.
type ImageError string

// Error implements error.
func (e ImageError) Error() string { return string(e) }

// CheckID returns ErrInvalidID for an id that is no container's. Every call of
// a runtime checks its id, since names of files are built from it.
func CheckID(id string) error {
	if !worker.ValidContainerID(id) {
		return fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	return nil
}
