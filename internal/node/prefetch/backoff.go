package prefetch

import (
	"errors"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/node/localizer"
)

// Pauses after failures. A whole cluster does not come back at once.
var (
	// trouble is that of the store or of an image, as of workers' launches.
	trouble = backoff.Policy{First: 10 * time.Second, Last: 5 * time.Minute, Jitter: 0.5}
	// noRoom is a node that is too small: to fetch again soon what was just
	// deleted would wear out disk and store for nothing.
	noRoom = backoff.Policy{First: 10 * time.Minute, Last: 2 * time.Hour, Jitter: 0.5}
)

// fail notes a failure and when to try again.
func (j *job) fail(err error, now time.Time) {
	var d backoff.Policy
	var n int
	switch {
	case errors.Is(err, localizer.ErrEvicted):
		if !j.readySince.IsZero() && now.Sub(j.readySince) > noRoom.Last {
			j.evictions = 0 // there was room for long
		}
		j.evictions++
		d, n = noRoom, j.evictions
	case errors.Is(err, localizer.ErrDiskFull):
		j.failures++
		d, n = noRoom, j.failures
	default:
		j.failures++
		d, n = trouble, j.failures
	}
	j.readySince = time.Time{}
	j.due = now.Add(d.Pause(n))
	s := &j.state
	s.Phase, s.Since, s.Err, s.Bytes, s.RetryAt = Failed, now, err, 0, j.due
}
