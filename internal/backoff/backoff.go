// Package backoff has the pauses between retries.
package backoff

import (
	"context"
	"time"
)

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
