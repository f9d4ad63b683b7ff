// Package backoff has the pauses between retries.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Policy is how the pauses between tries grow: each is twice as long as the one
// before it.
type Policy struct {
	// First is the pause after the first failure, Last the longest one.
	First, Last time.Duration
	// Jitter is the share of a pause, from 0 to 1, that is left to chance: up
	// to so much of it is taken off. Many who failed at the same moment do not
	// try again at the same moment.
	Jitter float64
}

// Pause returns the pause after n failures in a row, n from 1.
func (p Policy) Pause(n int) time.Duration {
	d := min(p.First, p.Last)
	for ; n > 1 && d < p.Last; n-- {
		d = min(2*d, p.Last)
	}
	return Jitter(d, p.Jitter)
}

// Jitter takes a random part of a duration off it, up to share of it. It never
// adds to it.
func Jitter(d time.Duration, share float64) time.Duration {
	return d - time.Duration(share*rand.Float64()*float64(d)) //nolint:gosec // a jitter is no secret
}

// Wait returns after d, or with the error of ctx when that ends first.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
