package localizer

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/stormcell/stormcell/internal/store"
)

// A read of the store that fails is tried again after a pause that doubles,
// so that a fail-over passes unnoticed; what lasts longer is the caller's to
// wait out, who can tell the user.
const (
	tries     = 5
	baseDelay = 200 * time.Millisecond
)

// retry calls f until it succeeds, fails for good, or has failed tries times.
func (l *Localizer) retry(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil || n == tries-1 || lasting(err) || ctx.Err() != nil {
			return err
		}
		if l.wait(ctx, pause(n, rand.Float64())) != nil { //nolint:gosec // a jitter is no secret
			return err
		}
	}
}

// pause is how long to wait after failure n (from 0). jitter, in [0,1), takes
// up to half of it off, so that a whole cluster does not come back at once.
func pause(n int, jitter float64) time.Duration {
	d := baseDelay << n
	return d - time.Duration(jitter*float64(d/2))
}

// lasting tells errors that another try will not change, or that the store has
// waited out itself.
func lasting(err error) bool {
	for _, sentinel := range []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, store.ErrTooLarge, store.ErrNotFile, store.ErrChanged,
		store.ErrUnavailable, store.ErrLost, errShort,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
