package diskusage

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/backoff"
)

const (
	// restPerWork is how much longer the rests of a walk are than its work: it has at
	// most a tenth of one CPU, whatever there is to count.
	restPerWork = 9
	// workAtOnce is the CPU time between two rests.
	workAtOnce = 5 * time.Millisecond
	// stepsAtOnce is the number of steps between two looks at the clock.
	stepsAtOnce = 64
)

// pace has the walks of one thread rest. The clock is that of the thread's CPU time: on
// a busy machine, where the same work takes longer, the rests do not.
type pace struct {
	steps int
	begun time.Duration
	cpu   func() time.Duration
	rest  func(ctx context.Context, d time.Duration) error
}

// newPace returns the pace of the calling goroutine, which has locked its thread.
func newPace() *pace { return &pace{begun: threadTime(), cpu: threadTime, rest: backoff.Wait} }

// step is called at each file. It returns the context's error if that ends.
func (p *pace) step(ctx context.Context) error {
	if p.steps++; p.steps%stepsAtOnce != 0 {
		return nil
	}
	work := p.cpu() - p.begun
	if work < workAtOnce {
		return ctx.Err()
	}
	err := p.rest(ctx, restPerWork*work)
	p.begun = p.cpu()
	return err
}

// threadTime is the CPU time that this thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // each kernel has that clock
	}
	return time.Duration(t.Nano())
}
