package layertar

import "errors"

// Errors of Rewrite, besides those of its reader and its writer.
var (
	// ErrMalformed is an archive, or an entry of one, that cannot be made sense of.
	ErrMalformed = errors.New("malformed layer")
	// ErrUnsupported is an entry that squashfs or overlayfs cannot represent.
	ErrUnsupported = errors.New("unsupported in a layer")
	// ErrTooLarge is an archive above one of its Limits.
	ErrTooLarge = errors.New("layer is too large")
)
