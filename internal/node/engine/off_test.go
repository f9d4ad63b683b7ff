package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// secondOff starts an agent on a node that has turned the second runtime off.
func secondOff(t *testing.T, n, daemon *node) *agent {
	t.Helper()
	off := daemon.driver()
	off.Off = fmt.Errorf("%w: Second", runtime.ErrOff)
	return withDrivers(t, n, runtime.Drivers{worker.Runc: n.driver(), second: off})
}

// TestRuntimeThatIsOff: its workers say so, and go without a word to a daemon that
// nobody may have installed; so do those that the cluster remembers as running.
func TestRuntimeThatIsOff(t *testing.T) {
	for name, past := range map[string]Past{
		"never ran": {}, "ran before a reboot": {Launched: 2, RunningSince: time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, daemon := newNode(t), newNode(t)
				for _, call := range []string{"list", "delete", "terminated"} {
					daemon.setFailure(call, errAway)
				}
				a := secondOff(t, n, daemon)
				defer func() { a.end() }()
				a.Ensure(aWorker("a", inSecond), past)
				if s := a.phase(t, "a", BackOff); !errors.Is(s.Err, runtime.ErrOff) {
					t.Errorf("error %v", s.Err)
				}
				a.end()
				a = secondOff(t, n, daemon)
				a.Ensure(aWorker("a", inSecond), past)
				a.phase(t, "a", BackOff)
				a.Remove("a")
				a.phase(t, "a", Removed)
				a.Purge(aWorker("b", inSecond), past)
				a.phase(t, "b", Removed)
				for _, call := range daemon.taken() {
					if !slices.Contains([]string{"unmount", "remove logs"}, call) {
						t.Errorf("call %q", call)
					}
				}
			})
		})
	}
}

// TestRuntimeTurnedOff: what it had runs on to its end, is not started again, and is
// removed as ever.
func TestRuntimeTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		a := twoRuntimes(t, n, daemon)
		other := aWorker("b", inSecond, func(w *worker.Spec) { w.Port, w.ID = 6704, "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" })
		a.Ensure(aWorker("a", inSecond), Past{})
		a.Ensure(other, Past{})
		a.phase(t, "a", Running)
		a.phase(t, "b", Running)
		a.end()

		a = secondOff(t, n, daemon)
		defer a.end()
		a.Ensure(aWorker("a", inSecond), Past{})
		a.Ensure(other, Past{})
		a.phase(t, "a", Running)
		a.Remove("b")
		a.phase(t, "b", Removed)
		daemon.exit(aWorker("a").ContainerID(), 1)
		if s := a.phase(t, "a", BackOff); !errors.Is(s.Err, runtime.ErrOff) {
			t.Errorf("error %v", s.Err)
		}
		a.Remove("a")
		a.phase(t, "a", Removed)
		if len(daemon.containers) > 0 {
			t.Errorf("%d containers are left", len(daemon.containers))
		}
	})
}
