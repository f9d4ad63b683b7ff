package runtime

import (
	"context"
	"io"
	"time"
)

// Logs are what containers of a runtime have printed.
type Logs interface {
	// Log opens the container's log; ErrNoLog if there is none.
	// Reads of one that is followed block until there is more, or ctx ends.
	Log(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error)
	// RemoveLogs deletes the container's logs.
	RemoveLogs(id string) error
	// OldLogs returns the containers whose logs were last written before then.
	OldLogs(then time.Time) (ids []string, err error)
}

// LogOptions say which part of a container's log is wanted, and how.
type LogOptions struct {
	// Follow continues until the container has ended.
	Follow bool
	// Previous asks for the attempt before the newest one.
	Previous bool
	// Timestamps puts the time of each line before it, as RFC 3339, and a blank.
	Timestamps bool
	// TailLines is how many lines before the end to begin; nil for the first.
	TailLines *int64
}
