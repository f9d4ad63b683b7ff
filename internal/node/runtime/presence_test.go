package runtime_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestPresence: a runtime with a daemon is present while that answers, and one that is
// off never, nor is its daemon asked.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Bool
		var changes atomic.Int32
		p := runtime.NewPresence(runtime.Drivers{
			worker.Runc: {},
			"Docker": {Ping: func(context.Context) error {
				if answers.Load() {
					return nil
				}
				return runtime.ErrUnavailable
			}},
			"Off": {Off: runtime.ErrOff, Ping: func(context.Context) error {
				t.Error("the daemon of a runtime that is off is asked")
				return nil
			}},
		}, func() { changes.Add(1) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		for i, there := range []bool{false, true, true, false} {
			answers.Store(there)
			time.Sleep(time.Minute)
			want, changed := []worker.Runtime{worker.Runc}, []int32{1, 2, 2, 3}[i]
			if there {
				want = []worker.Runtime{"Docker", worker.Runc}
			}
			if got := p.Names(); !slices.Equal(got, want) || changes.Load() != changed {
				t.Errorf("look %d: %v, want %v; %d changes, want %d", i, got, want, changes.Load(), changed)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestPresenceAtTheEnd: an agent that ends reports no absence.
func TestPresenceAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := runtime.NewPresence(runtime.Drivers{"Docker": {Ping: func(ctx context.Context) error { return errors.Join(ctx.Err()) }}}, func() {})
	p.Look(ctx)
	cancel()
	p.Look(ctx)
	if got := p.Names(); !slices.Equal(got, []worker.Runtime{"Docker"}) {
		t.Errorf("%v", got)
	}
}
