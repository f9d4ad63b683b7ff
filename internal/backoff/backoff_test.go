package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		if err := backoff.Wait(ctx, 2*time.Second); err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		if err := backoff.Wait(ctx, 2*time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestPause(t *testing.T) {
	seconds := backoff.Policy{First: 10 * time.Second, Last: 5 * time.Minute}
	for _, tt := range []struct {
		name string
		of   backoff.Policy
		n    int
		want time.Duration
	}{
		{"first", seconds, 1, 10 * time.Second},
		{"second", seconds, 2, 20 * time.Second},
		{"third", seconds, 3, 40 * time.Second},
		{"the last one that grows", seconds, 6, 5 * time.Minute},
		{"at most", seconds, 100, 5 * time.Minute},
		{"after years", seconds, math.MaxInt, 5 * time.Minute},
		{"before any failure", seconds, 0, 10 * time.Second},
		{"no pause", backoff.Policy{}, 3, 0},
		{"always the same", backoff.Policy{First: time.Second, Last: time.Second}, 7, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.of.Pause(tt.n); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestPauseWithJitter: a cluster of nodes that failed at one moment is spread
// over the share of the pause, and nobody waits longer than the pause.
func TestPauseWithJitter(t *testing.T) {
	p := backoff.Policy{First: 10 * time.Second, Last: 5 * time.Minute, Jitter: 0.5}
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for range 10000 {
		d := p.Pause(3)
		least, most = min(least, d), max(most, d)
	}
	if least < 20*time.Second || least > 21*time.Second || most > 40*time.Second || most < 39*time.Second {
		t.Errorf("pauses from %s to %s, want them from 20 s to 40 s", least, most)
	}
}
