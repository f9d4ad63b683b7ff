package bundle

import "errors"

// Why a worker's directories cannot be made. None of them passes by itself:
// somebody has to act, and the sentences around them say how.
var (
	// ErrBindSourceMissing is a path that the configuration wants mounted into
	// workers and that is not on this node.
	ErrBindSourceMissing = errors.New("bind mount source is missing")
	// ErrForeignOwner is a directory of a worker or topology that belongs to
	// another user than the worker's.
	ErrForeignOwner = errors.New("directory belongs to another user")
	// ErrUntrusted is a directory above workers' own that workers could change.
	ErrUntrusted = errors.New("directory is not safe from workers")
	// ErrHidden is a directory that a worker could not see.
	ErrHidden = errors.New("directory is hidden from workers by their own /tmp")
	// ErrInvalidText is an environment or command that cannot be written down.
	ErrInvalidText = errors.New("invalid environment or command")
	// ErrBadImage is an image with something else than a file where the runtime opens
	// one as root.
	ErrBadImage = errors.New("the image is not safe to start")
	// ErrMounted is a directory that cannot be deleted because of a mount.
	ErrMounted = errors.New("something is mounted below it")
)
