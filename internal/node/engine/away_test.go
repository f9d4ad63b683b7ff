package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

var errAway = fmt.Errorf("%w: nobody is there", runtime.ErrUnavailable)

// second is a runtime beside Runc.
const second worker.Runtime = "Second"

func inSecond(w *worker.Spec) { w.Runtime = second }

// twoRuntimes starts an agent on a node that has a second runtime, on another
// node's parts.
func twoRuntimes(t *testing.T, n, daemon *node) *agent {
	t.Helper()
	return withDrivers(t, n, runtime.Drivers{worker.Runc: n.driver(), second: daemon.driver()})
}

// withDrivers starts an agent on a node that has these runtimes.
func withDrivers(t *testing.T, n *node, drivers runtime.Drivers) *agent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := New(Options{
		Runtimes: drivers, Bundles: bundles{n}, RunRoot: n.runRoot, Changed: func(State) {}, Log: slog.New(slog.DiscardHandler),
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
		n, daemon := newNode(t), newNode(t)
		first := twoRuntimes(t, n, daemon)
		first.Ensure(aWorker("a", inSecond), Past{})
		first.Ensure(aWorker("b", func(w *worker.Spec) { w.Port, w.ID = 6704, "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" }), Past{})
		pid := first.phase(t, "a", Running).PID
		first.phase(t, "b", Running)
		first.end()
		daemon.addStray()
		daemon.setFailure("list", errAway)

		next := twoRuntimes(t, n, daemon)
		defer next.end()
		next.phase(t, "b", Running)
		if s := next.phase(t, "a", Running); s.PID != pid || s.Runtime != second {
			t.Errorf("recorded as %+v, want pid %d", s, pid)
		}
		time.Sleep(time.Hour)
		next.phase(t, "a", Running)
		if len(daemon.containers) != 2 {
			t.Errorf("%d containers, want the worker's and the stray", len(daemon.containers))
		}
		daemon.setFailure("list", nil)
		time.Sleep(awayMax)
		next.phase(t, "a", Running)
		if len(daemon.containers) != 1 {
			t.Errorf("%d containers, want the worker's", len(daemon.containers))
		}
		daemon.exit(aWorker("a").ContainerID(), 7)
		if s := next.phase(t, "a", BackOff); s.LastExit.Code != 7 {
			t.Errorf("its end: %+v", s.LastExit)
		}
	})
}

// TestRuntimeAwayInTheMiddle: an agent that was killed just before it started a
// container is followed by one that cannot ask. What was under way is undone
// when the daemon answers, and begun anew; the start that was not is not counted.
func TestRuntimeAwayInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		w := aWorker("a", inSecond)
		before := records{dir: filepath.Join(n.runRoot, "workers"), runtimes: runtime.Drivers{second: {}}}
		if err := before.save(&record{Spec: w, Launched: 1, Running: true, StartedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if _, err := daemon.Create(t.Context(), w.ContainerID(), "", 0); err != nil {
			t.Fatal(err)
		}
		daemon.setFailure("list", errAway)

		next := twoRuntimes(t, n, daemon)
		defer next.end()
		next.Ensure(aWorker("a", inSecond), Past{})
		next.phase(t, "a", Running) // as far as is known
		daemon.setFailure("list", nil)
		time.Sleep(awayMax)
		if s := next.phase(t, "a", Running); s.Restarts != 0 || len(daemon.containers) != 1 {
			t.Errorf("%+v, %d containers", s, len(daemon.containers))
		}
	})
}

// TestAwayKeepsWhatIsRecorded: no answer is not "no containers". The mounts and
// layers of a worker whose runtime is away stay, also where another runtime,
// which answers, has its mounts made by the same part.
func TestAwayKeepsWhatIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		first := twoRuntimes(t, n, daemon)
		other := aWorker("b", func(w *worker.Spec) { w.Port, w.ID = 6704, "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" })
		first.Ensure(aWorker("a", inSecond), Past{})
		first.Ensure(other, Past{})
		first.phase(t, "a", Running)
		first.phase(t, "b", Running)
		first.end()
		daemon.setFailure("list", errAway)
		daemon.held, n.calls = map[string]bool{}, nil

		shared := runtime.Driver{Images: daemon, Rootfs: n, Runtime: daemon, Logs: daemon}
		next := withDrivers(t, n, runtime.Drivers{worker.Runc: n.driver(), second: shared})
		defer next.end()
		next.phase(t, "a", Running)
		kept := n.taken()
		slices.Sort(kept)
		if want := []string{"keep mounts of " + aWorker("a").ContainerID(), "keep mounts of " + other.ContainerID()}; !slices.Equal(kept, want) {
			t.Errorf("calls %q, want %q", kept, want)
		}
		if !daemon.held[aWorker("a").ContainerID()] {
			t.Error("its layers are not held")
		}
	})
}

// TestAwayIsAskedOften: the pause does not grow as that of a launch that fails.
func TestAwayIsAskedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, daemon := newNode(t), newNode(t)
		daemon.setFailure("localize", errAway)
		daemon.setFailure("delete", errAway)
		a := twoRuntimes(t, n, daemon)
		defer a.end()
		a.Ensure(aWorker("a", inSecond), Past{})
		time.Sleep(time.Hour)
		s := a.phase(t, "a", BackOff)
		if time.Until(s.RetryAt) > awayMax {
			t.Errorf("tried again in %v", time.Until(s.RetryAt))
		}
		daemon.setFailure("localize", nil)
		daemon.setFailure("delete", nil)
		time.Sleep(2 * awayMax)
		a.phase(t, "a", Running)
	})
}

// TestRecordsTellWhoCanTakeOver: by the version, and by the name of the runtime.
func TestRecordsTellWhoCanTakeOver(t *testing.T) {
	r := records{dir: t.TempDir(), runtimes: runtime.Drivers{worker.Runc: {}, second: {}}}
	older := records{dir: r.dir, runtimes: runtime.Drivers{worker.Runc: {}}}
	for _, tt := range []struct {
		runtime worker.Runtime
		err     error // of an agent that knows only Runc
	}{
		{"", nil},
		{worker.Runc, nil},
		{second, ErrNewerRecord},
	} {
		w := aWorker("a", func(w *worker.Spec) { w.Runtime = tt.runtime })
		if err := r.save(&record{Spec: w}); err != nil {
			t.Fatal(err)
		}
		if rec, err := r.load(w.ContainerID()); err != nil || rec.Version != recordVersion {
			t.Errorf("record of runtime %q: %+v, %v; want version %d", tt.runtime, rec, err, recordVersion)
		}
		if _, err := older.load(w.ContainerID()); !errors.Is(err, tt.err) {
			t.Errorf("record of runtime %q, read by an agent that does not know it: %v, want %v", tt.runtime, err, tt.err)
		}
	}
}

// TestWorkerOfUnknownRuntime: one that only a newer agent could run is never
// launched, says so, and can be removed.
func TestWorkerOfUnknownRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer func() { a.end() }()
		a.Ensure(aWorker("a", inSecond), Past{})
		if s := a.phase(t, "a", BackOff); !errors.Is(s.Err, runtime.ErrUnknown) {
			t.Errorf("error %v", s.Err)
		}
		a.end()
		a = n.begin() // it starts: no record names a runtime that it does not know
		a.Ensure(aWorker("a", inSecond), Past{})
		a.phase(t, "a", BackOff)
		a.Remove("a")
		a.phase(t, "a", Removed)
		for _, call := range n.taken() {
			if slices.Contains(launchCalls, call) {
				t.Errorf("call %q", call)
			}
		}
	})
}
