package tags

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/stormcell/stormcell/internal/store"
)

const (
	// patience is how long a store may take to answer.
	patience = 30 * time.Second
	// retryInterval is how soon a store that failed is asked again, if the
	// refresh interval is longer.
	retryInterval = 5 * time.Second
)

// flights lets many askers share one question to a store.
type flights[T any] struct {
	group    singleflight.Group
	patience time.Duration
}

func newFlights[T any]() *flights[T] { return &flights[T]{patience: patience} }

// do runs ask, or waits for the one that runs under key already. ask outlives
// the asker who began it, for the sake of the others. An asker who gives up
// waiting gets its context's error, or store.ErrUnavailable.
func (f *flights[T]) do(ctx context.Context, key string, ask func(context.Context) (T, error)) (T, error) {
	var none T
	done := f.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.patience)
		defer cancel()
		return ask(ctx)
	})
	// A hung network file system does not even heed ask's context.
	waiting, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	select {
	case r := <-done:
		v, _ := r.Val.(T) // ask returned nothing else
		return v, r.Err
	case <-waiting.Done():
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		return none, fmt.Errorf("%w: no answer within %s", store.ErrUnavailable, f.patience)
	}
}

// due tells whether what was checked at a time, with or without an error, is
// to be checked again.
func due(checked time.Time, err error, now time.Time, interval time.Duration) bool {
	if err != nil {
		interval = min(interval, retryInterval)
	}
	return checked.IsZero() || now.Sub(checked) >= interval
}

// overdue makes the end of ask's patience an unavailable store.
func overdue(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer in time: %w", store.ErrUnavailable, err)
	}
	return err
}
