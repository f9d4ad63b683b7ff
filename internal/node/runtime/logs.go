package runtime

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
