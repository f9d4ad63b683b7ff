package engine

import (
	"errors"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
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

var (
	// restartPauses are the pauses before a worker that has ended starts again.
	restartPauses = backoff.Policy{First: backOffFirst, Last: backOffMax}
	// failurePauses are those after a step that has failed. Many nodes fail together
	// when their store is away, and must not come back together.
	failurePauses = backoff.Policy{First: backOffFirst, Last: backOffMax, Jitter: 0.5}
	// awayPauses are those after a runtime has not answered: to ask it costs nothing.
	awayPauses = backoff.Policy{First: backOffFirst, Last: awayMax}
)

// backOff is the pause before the next start after n runs in a row that failed.
func backOff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return restartPauses.Pause(n - 1)
}

// retryIn is the pause after what has failed n times in a row, the last time
// with err. It is never none, since nothing of the worker ran.
func retryIn(err error, n int) time.Duration {
	if errors.Is(err, runtime.ErrUnavailable) {
		return awayPauses.Pause(n)
	}
	return failurePauses.Pause(n)
}

// startsAgain tells whether policy starts a worker again that ended with exit. No policy
// does so with one that took up too much storage, as kubelet with a pod that it has
// evicted: its files are removed, and it would fill the disk again.
func startsAgain(policy worker.RestartPolicy, exit runtime.Exit) bool {
	if exit.StorageExceeded {
		return false
	}
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
