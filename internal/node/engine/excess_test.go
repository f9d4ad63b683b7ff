package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestStorageExceeded: a worker that takes up too much is killed without grace, its files
// are removed, and no restart policy starts it again, nor does the next agent.
func TestStorageExceeded(t *testing.T) {
	for _, p := range []worker.RestartPolicy{worker.RestartAlways, worker.RestartOnFailure, worker.RestartNever} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				a := n.begin()
				a.Ensure(aWorker("a", policy(p)), Past{})
				running := a.phase(t, "a", Running)
				n.taken()
				a.EndExceeded("a", running.StartedAt.Add(-time.Second), "of another run")
				a.EndExceeded("b", running.StartedAt, "of no worker")
				if a.phase(t, "a", Running); len(n.taken()) > 0 {
					t.Error("killed for what another run took up")
				}
				a.EndExceeded("a", running.StartedAt, "everything")
				s := a.phase(t, "a", Ended)
				if s.LastExit == nil || !s.LastExit.StorageExceeded || s.LastExit.Storage != "everything" || s.LastExit.Signal != 9 {
					t.Errorf("last exit %+v", s.LastExit)
				}
				wantCalls(t, n, "killed", "delete", "unmount", "discard bundle")
				time.Sleep(time.Hour)
				past := Past{Launched: 1, LastExit: a.phase(t, "a", Ended).LastExit}
				a.end()

				a = n.begin()
				a.Ensure(aWorker("a", policy(p)), Past{})
				a.phase(t, "a", Ended)
				a.end()

				rebooted := newNode(t)
				a = rebooted.begin()
				defer a.end()
				a.Ensure(aWorker("a", policy(p)), past)
				a.phase(t, "a", Ended)
			})
		})
	}
}

// TestStorageExceededSurvivesTheAgent: the next agent ends what the last one came to know
// of, and removes what the last one could not.
func TestStorageExceededSurvivesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresKill = true
		a := n.begin()
		a.Ensure(aWorker("a"), Past{})
		a.EndExceeded("a", a.phase(t, "a", Running).StartedAt, "everything")
		synctest.Wait()
		a.end()

		n.ignoresKill = false
		n.setFailure("discard bundle", errors.New("busy"))
		n.taken()
		a = n.begin()
		a.Ensure(aWorker("a"), Past{})
		s := a.phase(t, "a", Ended)
		if s.LastExit == nil || s.LastExit.Storage != "everything" {
			t.Errorf("last exit %+v", s.LastExit)
		}
		wantCalls(t, n, "keep mounts of "+aWorker("a").ContainerID(), "killed", "delete", "unmount", "discard bundle")
		a.end()

		n.setFailure("discard bundle", nil)
		a = n.begin()
		defer a.end()
		a.Ensure(aWorker("a"), Past{})
		a.phase(t, "a", Ended)
		wantCalls(t, n, "unmount", "discard bundle") // the container is gone, and recorded so
	})
}

// TestStorageExceededAndStuck: a process that outlives SIGKILL is left to the runtime's
// deletion, which says so.
func TestStorageExceededAndStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresKill = true
		a := n.begin()
		defer a.end()
		a.Ensure(aWorker("a"), Past{})
		n.setFailure("delete", errors.New("stuck"))
		a.EndExceeded("a", a.phase(t, "a", Running).StartedAt, "everything")
		time.Sleep(2 * killWait)
		if s := a.phase(t, "a", Ended); s.Err == nil || !s.LastExit.StorageExceeded {
			t.Errorf("%+v", s)
		}
	})
}
