package localizer

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
)

// A read of the store that fails is tried again after a pause that doubles,
// so that a fail-over passes unnoticed; what lasts longer is the caller's to
// wait out, who can tell the user.
const tries = 5

// pauses are those between the tries. A whole cluster does not come back at once.
var pauses = backoff.Policy{First: 200 * time.Millisecond, Last: 1600 * time.Millisecond, Jitter: 0.5}

// retry calls f until it succeeds, fails for good, or has failed tries times.
func (l *Localizer) retry(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if err == nil || n == tries || lasting(err) || ctx.Err() != nil {
			return err
		}
		if l.wait(ctx, pauses.Pause(n)) != nil {
			return err
		}
	}
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
