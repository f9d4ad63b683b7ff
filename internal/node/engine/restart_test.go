package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// TestRetryIn: the pause grows, nodes that fail together are spread over half of
// it, and a runtime that is away is asked more often.
func TestRetryIn(t *testing.T) {
	const seconds = time.Second
	broken, away := errors.New("the store is away"), fmt.Errorf("%w: no dockerd", runtime.ErrUnavailable)
	for _, tt := range []struct {
		err         error
		n           int
		least, most time.Duration
	}{
		{broken, 1, 5 * seconds, 10 * seconds},
		{broken, 2, 10 * seconds, 20 * seconds},
		{broken, 5, 80 * seconds, 160 * seconds},
		{broken, 1000, backOffMax / 2, backOffMax},
		{away, 1, 10 * seconds, 10 * seconds},
		{away, 2, 20 * seconds, 20 * seconds},
		{away, 1000, awayMax, awayMax},
	} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := retryIn(tt.err, tt.n)
			if seen[d] = true; d < tt.least || d > tt.most {
				t.Errorf("%v, failure %d: %s, want from %s to %s", tt.err, tt.n, d, tt.least, tt.most)
			}
		}
		if spread := len(seen) > 1; spread != (tt.least != tt.most) {
			t.Errorf("%v, failure %d: %d different pauses", tt.err, tt.n, len(seen))
		}
	}
}
