package engine

import (
	"errors"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// The back-off is the kubelet's: at once after the first failure, then 10 s,
// doubling to 5 min; a run of 10 min counts as healthy and begins it anew.
const (
	backOffFirst   = 10 * time.Second
	backOffMax     = 5 * time.Minute
	healthyRunTime = 10 * time.Minute
	awayMax        = 30 * time.Second
)

// backOff is the pause before the next start after n failures in a row.
func backOff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	d := backOffFirst
	for range n - 2 {
		d = min(2*d, backOffMax)
	}
	return d
}

// launchBackOff is the pause after n launches in a row that did not get as far
// as a running process: never none, since nothing of the worker ran.
func launchBackOff(n int) time.Duration { return backOff(n + 1) }

// retryIn is the pause after what has failed n times in a row, the last time
// with err. A runtime that is away is asked more often, which costs nothing.
func retryIn(err error, n int) time.Duration {
	if errors.Is(err, runtime.ErrUnavailable) {
		return min(launchBackOff(n), awayMax)
	}
	return launchBackOff(n)
}

// startsAgain tells whether policy starts a worker again that ended with exit.
func startsAgain(policy worker.RestartPolicy, exit runtime.Exit) bool {
	switch policy {
	case worker.RestartNever:
		return false
	case worker.RestartOnFailure:
		return exit.Code != 0
	default:
		return true
	}
}

// failuresAfter counts the failures in a row once a process has run from
// start to end.
func failuresAfter(before int, start, end time.Time) int {
	if end.Sub(start) >= healthyRunTime {
		return 1
	}
	return before + 1
}
