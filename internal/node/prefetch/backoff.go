package prefetch

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/stormcell/stormcell/internal/node/localizer"
)

// backOff is how long to wait after a failure: it doubles from base to limit.
type backOff struct{ base, limit time.Duration }

var (
	// trouble is that of the store or of an image, as of workers' launches.
	trouble = backOff{10 * time.Second, 5 * time.Minute}
	// noRoom is a node that is too small: to fetch again soon what was just
	// deleted would wear out disk and store for nothing.
	noRoom = backOff{10 * time.Minute, 2 * time.Hour}
)

// pause is how long to wait after failure n (from 1). jitter, in [0,1), takes
// up to half of it off, so that a whole cluster does not come back at once.
func (b backOff) pause(n int, jitter float64) time.Duration {
	d := b.base
	for range n - 1 {
		d = min(2*d, b.limit)
	}
	return d - time.Duration(jitter*float64(d/2))
}

// fail notes a failure and when to try again.
func (j *job) fail(err error, now time.Time) {
	var d backOff
	var n int
	switch {
	case errors.Is(err, localizer.ErrEvicted):
		if !j.readySince.IsZero() && now.Sub(j.readySince) > noRoom.limit {
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
	j.due = now.Add(d.pause(n, rand.Float64())) //nolint:gosec // a jitter is no secret
	s := &j.state
	s.Phase, s.Since, s.Err, s.Bytes, s.RetryAt = Failed, now, err, 0, j.due
}
