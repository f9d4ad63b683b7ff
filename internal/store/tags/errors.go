package tags

import "errors"

// Errors that callers distinguish, beside store.ErrUnavailable (the store
// is away) and those of store.Resolve (the store lacks a part of the
// image, or a part is damaged).
var (
	// ErrTagNotFound is a tag that no tag file has.
	ErrTagNotFound = errors.New("tag is not known")
	// ErrUnreadable is a tag file that is missing, too large or not ours to
	// read, in a store that is there.
	ErrUnreadable = errors.New("tag file cannot be read")
)
