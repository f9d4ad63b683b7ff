package engine

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestWhatWasNeverCreatedNeedsNoDaemon: a worker of a runtime whose daemon is not
// there is removed at once, and frees its port, also by the agent after the next.
func TestWhatWasNeverCreatedNeedsNoDaemon(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n, daemon := newNode(t), newNode(t)
			for _, call := range []string{"localize", "delete", "list"} {
				daemon.setFailure(call, errAway)
			}
			a := twoRuntimes(t, n, daemon)
			a.Ensure(aWorker("a", inSecond), Past{})
			a.phase(t, "a", BackOff)
			if restarted {
				a.end()
				a = twoRuntimes(t, n, daemon)
			}
			defer func() { a.end() }()
			a.Remove("a")
			synctest.Wait()
			if s, _ := a.State("a"); s.Phase != Removed {
				t.Fatalf("restarted %v: %s, %v; want it removed without its daemon", restarted, s.Phase, s.Err)
			}
			a.Ensure(aWorker("b", func(w *worker.Spec) { w.ID = "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" }), Past{})
			a.phase(t, "b", Running)
		})
	}
}

// TestWhatMayExistNeedsItsDaemon: a container that was created, or may have been, is
// not forgotten because its daemon is away.
func TestWhatMayExistNeedsItsDaemon(t *testing.T) {
	for _, tt := range []struct {
		name string
		// live brings the worker to where its daemon goes away.
		live func(t *testing.T, a *agent, daemon *node)
	}{
		{"an attempt that failed", func(t *testing.T, a *agent, daemon *node) {
			daemon.setFailure("create", errAway)
			daemon.setFailure("delete", errAway)
			a.Ensure(aWorker("a", inSecond), Past{})
			a.phase(t, "a", BackOff)
		}},
		{"one that runs", func(t *testing.T, a *agent, _ *node) {
			a.Ensure(aWorker("a", inSecond), Past{})
			a.phase(t, "a", Running)
		}},
		{"one that ran before a reboot", func(t *testing.T, a *agent, daemon *node) {
			daemon.setFailure("localize", errAway)
			daemon.setFailure("delete", errAway)
			a.Ensure(aWorker("a", inSecond), Past{Launched: 1, LastExit: &runtime.Exit{Code: 1, At: time.Now()}})
			a.phase(t, "a", BackOff)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, daemon := newNode(t), newNode(t)
				a := twoRuntimes(t, n, daemon)
				defer a.end()
				tt.live(t, a, daemon)
				daemon.setFailure("delete", errAway)
				a.Remove("a")
				time.Sleep(time.Hour)
				if s := a.phase(t, "a", Stopping); !errors.Is(s.Err, runtime.ErrUnavailable) {
					t.Errorf("error %v", s.Err)
				}
				daemon.setFailure("delete", nil)
				time.Sleep(2 * awayMax)
				a.phase(t, "a", Removed)
				if len(daemon.containers) > 0 {
					t.Errorf("%d containers are left", len(daemon.containers))
				}
			})
		})
	}
}

// TestWhatIsDeletedNeedsNoDaemon: between two runs there is no container either.
func TestWhatIsDeletedNeedsNoDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		a := twoRuntimes(t, n, daemon)
		defer a.end()
		a.Ensure(aWorker("a", inSecond, func(w *worker.Spec) { w.RestartPolicy = worker.RestartNever }), Past{})
		a.phase(t, "a", Running)
		daemon.exit(aWorker("a").ContainerID(), 1)
		a.phase(t, "a", Ended)
		daemon.setFailure("delete", errAway)
		a.Remove("a")
		a.phase(t, "a", Removed)
	})
}

// TestRecordOfAnOlderAgent: it does not tell whether there is a container, so there
// may be one.
func TestRecordOfAnOlderAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		before := records{dir: filepath.Join(n.runRoot, "workers"), runtimes: runtime.Drivers{second: {}}}
		if err := before.save(&record{Spec: aWorker("a", inSecond)}); err != nil {
			t.Fatal(err)
		}
		daemon.setFailure("delete", errAway)
		a := twoRuntimes(t, n, daemon)
		defer a.end()
		a.Remove("a")
		time.Sleep(time.Hour)
		a.phase(t, "a", Stopping)
	})
}

// TestContainerAgainstItsRecord: one that is there is deleted, whatever its record says.
func TestContainerAgainstItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		w := aWorker("a", inSecond)
		before := records{dir: filepath.Join(n.runRoot, "workers"), runtimes: runtime.Drivers{second: {}}}
		if err := before.save(&record{Spec: w, NoContainer: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := daemon.Create(t.Context(), w.ContainerID(), "", 0); err != nil {
			t.Fatal(err)
		}
		a := twoRuntimes(t, n, daemon)
		defer a.end()
		a.Remove("a")
		a.phase(t, "a", Removed)
		if len(daemon.containers) > 0 {
			t.Error("the container is left")
		}
	})
}
