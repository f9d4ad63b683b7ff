package engine

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

var errAway = fmt.Errorf("%w: nobody is there", runtime.ErrUnavailable)

func inDocker(w *worker.Spec) { w.Runtime = worker.Docker }

// twoRuntimes starts an agent on a node that has a second runtime, on another
// node's parts.
func twoRuntimes(t *testing.T, n, docker *node) *agent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := New(Options{
		Runtimes: map[worker.Runtime]Parts{
			worker.Runc:   {Images: n, Rootfs: n, Runtime: n},
			worker.Docker: {Images: docker, Rootfs: docker, Runtime: docker},
		},
		Bundles: bundles{n}, RunRoot: n.runRoot, Changed: func(State) {}, Log: slog.New(slog.DiscardHandler),
	})
	if err := e.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	return &agent{e, cancel}
}

// TestRuntimeAwayAtStart: workers of the other runtime do not notice. What ran
// counts as running until the daemon answers, and then is adopted; what no
// record names is swept.
func TestRuntimeAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, docker := newNode(t), newNode(t)
		first := twoRuntimes(t, n, docker)
		first.Ensure(aWorker("a", inDocker), Past{})
		first.Ensure(aWorker("b", func(w *worker.Spec) { w.Port, w.ID = 6704, "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" }), Past{})
		pid := first.phase(t, "a", Running).PID
		first.phase(t, "b", Running)
		first.end()
		docker.addStray()
		docker.setFailure("list", errAway)

		second := twoRuntimes(t, n, docker)
		defer second.end()
		second.phase(t, "b", Running)
		if s := second.phase(t, "a", Running); s.PID != pid || s.Runtime != worker.Docker {
			t.Errorf("recorded as %+v, want pid %d", s, pid)
		}
		time.Sleep(time.Hour)
		second.phase(t, "a", Running)
		if len(docker.containers) != 2 {
			t.Errorf("%d containers, want the worker's and the stray", len(docker.containers))
		}
		docker.setFailure("list", nil)
		time.Sleep(awayMax)
		second.phase(t, "a", Running)
		if len(docker.containers) != 1 {
			t.Errorf("%d containers, want the worker's", len(docker.containers))
		}
		docker.exit(aWorker("a").ContainerID(), 7)
		if s := second.phase(t, "a", BackOff); s.LastExit.Code != 7 {
			t.Errorf("its end: %+v", s.LastExit)
		}
	})
}

// TestRuntimeAwayInTheMiddle: an agent that was killed just before it started a
// container is followed by one that cannot ask. What was under way is undone
// when the daemon answers, and begun anew; the start that was not is not counted.
func TestRuntimeAwayInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, docker := newNode(t), newNode(t)
		w := aWorker("a", inDocker)
		before := records{dir: filepath.Join(n.runRoot, "workers")}
		if err := before.save(&record{Spec: w, Launched: 1, Running: true, StartedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if _, err := docker.Create(t.Context(), w.ContainerID(), "", 0); err != nil {
			t.Fatal(err)
		}
		docker.setFailure("list", errAway)

		second := twoRuntimes(t, n, docker)
		defer second.end()
		second.Ensure(aWorker("a", inDocker), Past{})
		second.phase(t, "a", Running) // as far as is known
		docker.setFailure("list", nil)
		time.Sleep(awayMax)
		if s := second.phase(t, "a", Running); s.Restarts != 0 || len(docker.containers) != 1 {
			t.Errorf("%+v, %d containers", s, len(docker.containers))
		}
	})
}

// TestAwayIsAskedOften: the pause does not grow as that of a launch that fails.
func TestAwayIsAskedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, docker := newNode(t), newNode(t)
		docker.setFailure("localize", errAway)
		docker.setFailure("delete", errAway)
		a := twoRuntimes(t, n, docker)
		defer a.end()
		a.Ensure(aWorker("a", inDocker), Past{})
		time.Sleep(time.Hour)
		s := a.phase(t, "a", BackOff)
		if time.Until(s.RetryAt) > awayMax {
			t.Errorf("tried again in %v", time.Until(s.RetryAt))
		}
		docker.setFailure("localize", nil)
		docker.setFailure("delete", nil)
		time.Sleep(2 * awayMax)
		a.phase(t, "a", Running)
	})
}

// TestDockersRecordStopsOlderAgents: they would start a second process.
func TestDockersRecordStopsOlderAgents(t *testing.T) {
	r := records{dir: t.TempDir()}
	for _, w := range []worker.Spec{aWorker("a"), aWorker("b", inDocker, func(w *worker.Spec) { w.Port = 6704 })} {
		if err := r.save(&record{Spec: w}); err != nil {
			t.Fatal(err)
		}
		rec, err := r.load(w.ContainerID())
		if err != nil {
			t.Fatal(err)
		}
		if want := map[worker.Runtime]int{"": 1, worker.Docker: 2}[w.Runtime]; rec.Version != want {
			t.Errorf("runtime %q has version %d, want %d", w.Runtime, rec.Version, want)
		}
	}
}
