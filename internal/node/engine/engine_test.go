package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// node is a node whose parts do as they are told: it stands for faults and
// for hours of waiting. What the real parts do is tested with them.
type node struct {
	t       *testing.T
	runRoot string

	// called, if set, is told of each call before it is made.
	called     func(name string)
	mu         sync.Mutex
	calls      []string
	fail       map[string]error // by call, until cleared
	containers map[string]*fakeContainer
	exits      map[string]runtime.Exit
	// ignoresTerm makes containers outlive SIGTERM.
	ignoresTerm bool
	// ignoresKill makes SIGKILL reach nobody.
	ignoresKill bool
	// deleteHangs makes deletions wait for the end of their context.
	deleteHangs bool
	nextPID     int
	held        map[string]bool
	// logs are when those of each container were written last.
	logs map[string]time.Time
	// marked are the container ids of workers that have files here.
	marked []string
	// fetch, if set, is how the bytes of an image come.
	fetch func(progress func(done, total int64))
	// changed, if set, is told of changes of state.
	changed func(State)
	// observer may be nil.
	observer Observer
	// prepared is what the last bundle was made of.
	prepared worker.Spec
}

type fakeContainer struct {
	state runtime.State
	ended chan struct{}
}

func newNode(t *testing.T) *node {
	return &node{
		t: t, runRoot: t.TempDir(), fail: map[string]error{}, containers: map[string]*fakeContainer{},
		exits: map[string]runtime.Exit{}, nextPID: 100, held: map[string]bool{},
	}
}

// call notes a call and returns the failure that is set for it.
func (n *node) call(name string) error {
	if n.called != nil {
		n.called(name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, name)
	return n.fail[name]
}

func (n *node) setFailure(name string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail[name] = err
}

// taken returns the calls since the last time.
func (n *node) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

// exit ends the process of a container.
func (n *node) exit(id string, code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.containers[id]
	if c == nil || c.state.Status == runtime.Stopped {
		return
	}
	c.state.Status, c.state.PID = runtime.Stopped, 0
	exit := runtime.Exit{Code: code, At: time.Now()}
	if code > 128 {
		exit.Signal = code - 128
	}
	n.exits[id] = exit
	close(c.ended)
}

func (n *node) Localize(ctx context.Context, owner string, _ manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	if n.fetch != nil {
		n.fetch(progress)
	}
	progress(10, 10)
	if err := n.call("localize"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.held[owner] = true
	n.mu.Unlock()
	return &manifest.LocalImage{Layers: []manifest.LocalLayer{{Digest: digest.FromString("layer")}}}, ctx.Err()
}

func (n *node) Hold(owner string, _ []digest.Digest) {
	n.mu.Lock()
	n.held[owner] = true
	n.mu.Unlock()
}
func (n *node) Release(owner string) { n.mu.Lock(); delete(n.held, owner); n.mu.Unlock() }

func (n *node) Mount(context.Context, string, []manifest.LocalLayer) (string, error) {
	return "/rootfs", n.call("mount")
}
func (n *node) Unmount(context.Context, string) error { return n.call("unmount") }
func (n *node) Recover(_ context.Context, live map[string][]digest.Digest) error {
	for id := range live {
		if err := n.call("keep mounts of " + id); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) Prepare(_ context.Context, w worker.Spec, _ *manifest.LocalImage, _ string) (string, error) {
	n.mu.Lock()
	n.prepared = w
	n.mu.Unlock()
	return "/bundle", n.call("prepare")
}
func (n *node) Remove(context.Context, worker.Spec) error  { return n.call("remove bundle") }
func (n *node) Discard(context.Context, worker.Spec) error { return n.call("discard bundle") }

func (n *node) RecoverBundles(_ context.Context, known []worker.Spec) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := slices.Clone(n.marked)
	for _, w := range known {
		left = slices.DeleteFunc(left, func(id string) bool { return id == w.ContainerID() })
	}
	return left, n.fail["look for files"]
}

func (n *node) Sweep(_ context.Context, id string) error {
	if err := n.call("sweep " + id); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.marked = slices.DeleteFunc(n.marked, func(m string) bool { return m == id })
	return nil
}

// bundles has another Recover than the root file systems.
type bundles struct{ *node }

func (b bundles) Recover(ctx context.Context, known []worker.Spec) ([]string, error) {
	return b.RecoverBundles(ctx, known)
}

func (n *node) Create(_ context.Context, id, _ string, _ int) (runtime.State, error) {
	if err := n.call("create"); err != nil {
		return runtime.State{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.containers[id]; ok {
		n.t.Errorf("container %s is created twice", id)
	}
	delete(n.exits, id)
	n.nextPID++
	c := &fakeContainer{state: runtime.State{ID: id, Status: runtime.Created, PID: n.nextPID}, ended: make(chan struct{})}
	n.containers[id] = c
	return c.state, nil
}

func (n *node) Start(_ context.Context, id string) error {
	if err := n.call("start"); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.containers[id].state.Status = runtime.Running
	return nil
}

func (n *node) Inspect(_ context.Context, id string) (runtime.Info, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.containers[id]
	if !ok {
		return runtime.Info{}, runtime.ErrNotFound
	}
	return runtime.Info{Init: process.Process{PID: c.state.PID}, Cgroup: id}, n.fail["inspect"]
}

func (n *node) Exec(context.Context, string, runtime.Program) (int, error) {
	return 0, errors.ErrUnsupported
}

func (n *node) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	n.mu.Lock()
	c := n.containers[id]
	exit, known := n.exits[id]
	n.mu.Unlock()
	switch {
	case known:
		return exit, nil
	case c == nil:
		return runtime.Exit{}, runtime.ErrNotFound
	}
	select {
	case <-c.ended:
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.exits[id], nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

func (n *node) Signal(ctx context.Context, id string, sig syscall.Signal, _ bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.call(sig.String()); err != nil {
		return err
	}
	if sig == syscall.SIGKILL && !n.ignoresKill || sig == syscall.SIGTERM && !n.ignoresTerm {
		n.exit(id, 128+int(sig))
	}
	return nil
}

func (n *node) Delete(ctx context.Context, id string) error {
	if err := n.call("delete"); err != nil {
		return err
	}
	if n.deleteHangs {
		<-ctx.Done()
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.containers, id)
	delete(n.exits, id)
	return nil
}

func (n *node) Log(_ context.Context, id string, _ runtime.LogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("log of " + id)), nil
}

func (n *node) RemoveLogs(id string) error { delete(n.logs, id); return n.call("remove logs") }

func (n *node) OldLogs(then time.Time) (ids []string, err error) {
	for id, written := range n.logs {
		if written.Before(then) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (n *node) List(context.Context) ([]runtime.State, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []runtime.State
	for _, c := range n.containers {
		list = append(list, c.state)
	}
	return list, n.fail["list"]
}

// driver is that of the node as a runtime.
func (n *node) driver() runtime.Driver {
	return runtime.Driver{Images: n, Rootfs: n, Runtime: n, Logs: n}
}

// agent is one life of the agent on a node.
type agent struct {
	*Engine
	kill context.CancelFunc
}

// begin starts an agent on the node, as after a crash of the last.
func (n *node) begin() *agent {
	n.t.Helper()
	a, err := n.recover()
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

func (n *node) recover() (*agent, error) {
	ctx, cancel := context.WithCancel(context.Background())
	e := New(Options{
		Runtimes: runtime.Drivers{worker.Runc: n.driver()},
		Bundles:  bundles{n}, RunRoot: n.runRoot,
		Changed: func(s State) {
			if n.changed != nil {
				n.changed(s)
			}
		},
		Observer: n.observer,
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return &agent{e, cancel}, e.Recover(ctx)
}

// end ends an agent without a word to its workers.
func (a *agent) end() {
	a.kill()
	a.Wait()
}

func aWorker(uid string, change ...func(*worker.Spec)) worker.Spec {
	w := worker.Spec{
		Namespace: "storm", Name: "w-" + uid, UID: uid,
		ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc1-2-1608581491",
		User: "alice", Command: []string{"java"}, RestartPolicy: worker.RestartAlways, GracePeriod: 3 * time.Second,
	}
	for _, c := range change {
		c(&w)
	}
	return w
}

func policy(p worker.RestartPolicy) func(*worker.Spec) {
	return func(w *worker.Spec) { w.RestartPolicy = p }
}

func (a *agent) phase(t *testing.T, uid string, want Phase) State {
	t.Helper()
	synctest.Wait()
	s, ok := a.State(uid)
	if !ok || s.Phase != want {
		t.Fatalf("worker %s is in phase %q (%v), want %q", uid, s.Phase, s.Err, want)
	}
	return s
}

func wantCalls(t *testing.T, n *node, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, n.taken()); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
}

var (
	launchCalls   = []string{"localize", "mount", "prepare", "create", "start"}
	teardownCalls = []string{"delete", "unmount"}
	removeCalls   = []string{"delete", "unmount", "remove bundle", "remove logs"}
)

func TestLaunchAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		if s := a.phase(t, "a", Running); s.PID != 101 || !s.Localized || !s.Mounted || s.StartedAt.IsZero() {
			t.Errorf("state of a running worker: %+v", s)
		}
		wantCalls(t, n, launchCalls...)
		if is, info, err := a.Inspect(t.Context(), "a"); err != nil || is.UID != "a" || info.Init.PID != 101 || info.Cgroup != w.ContainerID() {
			t.Errorf("inspected: %+v, %+v, %v", is, info, err)
		}
		a.Remove("a")
		s := a.phase(t, "a", Removed)
		if _, _, err := a.Inspect(t.Context(), "a"); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("inspected when it is gone: %v", err)
		}
		wantCalls(t, n, append([]string{"terminated"}, removeCalls...)...)
		if s.LastExit == nil || s.LastExit.Signal != int(syscall.SIGTERM) {
			t.Errorf("last exit %+v, want by SIGTERM", s.LastExit)
		}
		if ids, err := a.records.list(); err != nil || len(ids) > 0 || len(n.held) > 0 {
			t.Errorf("left behind: records %v (%v), holds %v", ids, err, n.held)
		}
		a.Forget("a")
		if _, known := a.State("a"); known {
			t.Error("a forgotten worker is known")
		}
	})
}

// TestProgressMovesOnceASecond: what is told of the bytes of an image asks the
// API server for a write each time.
func TestProgressMovesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		const seconds = 30
		n.fetch = func(progress func(done, total int64)) {
			var group sync.WaitGroup
			for range 4 { // layers side by side
				group.Go(func() {
					for i := range int64(seconds * 100) {
						time.Sleep(10 * time.Millisecond)
						progress(i, seconds*100)
					}
				})
			}
			group.Wait()
		}
		var mu sync.Mutex
		var told, bytes int64
		var last time.Time
		n.changed = func(s State) {
			mu.Lock()
			defer mu.Unlock()
			if s.Phase != Localizing || s.LocalizedBytes == bytes {
				return
			}
			if since := time.Since(last); since < time.Second {
				t.Errorf("the bytes moved again after %v", since)
			}
			told, bytes, last = told+1, s.LocalizedBytes, time.Now()
		}
		a := n.begin()
		defer a.end()
		a.Ensure(aWorker("1"), Past{})
		time.Sleep((seconds + 1) * time.Second)
		a.phase(t, "1", Running)
		mu.Lock()
		defer mu.Unlock()
		if told < seconds-2 || told > seconds {
			t.Errorf("told %d times in %d seconds", told, seconds)
		}
	})
}

// TestStoreThatIsAwayIsWaitedFor: a launch whose fetch fails is tried again
// until it succeeds, and what it waits for is told meanwhile.
func TestStoreThatIsAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		away := errors.New("image store is unavailable: hdfs://nn:8020/containers")
		n.setFailure("localize", away)
		a := n.begin()
		defer a.end()
		a.Ensure(aWorker("1"), Past{})
		for range 20 {
			s := a.phase(t, "1", BackOff)
			if !errors.Is(s.Err, away) || !s.RetryAt.After(time.Now()) {
				t.Fatalf("in the back-off: error %v, tried again at %v, now it is %v", s.Err, s.RetryAt, time.Now())
			}
			if pause := time.Until(s.RetryAt); pause > backOffMax {
				t.Fatalf("a pause of %v, want at most %v", pause, backOffMax)
			}
			time.Sleep(time.Until(s.RetryAt))
		}
		a.phase(t, "1", BackOff)
		n.setFailure("localize", nil)
		time.Sleep(backOffMax)
		if s := a.phase(t, "1", Running); s.Err != nil {
			t.Errorf("it runs, and still tells of %v", s.Err)
		}
	})
}

func TestGracePeriodThenKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresTerm = true
		a := n.begin()
		defer a.end()
		a.Ensure(aWorker("a"), Past{})
		a.phase(t, "a", Running)
		n.taken()
		begin := time.Now()
		a.Remove("a")
		time.Sleep(2999 * time.Millisecond)
		a.phase(t, "a", Stopping)
		wantCalls(t, n, "terminated")
		time.Sleep(time.Millisecond)
		a.phase(t, "a", Removed)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want the grace period", took)
		}
		wantCalls(t, n, append([]string{"killed"}, removeCalls...)...)
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy worker.RestartPolicy
		code   int
		again  bool
	}{
		{"Always after success", worker.RestartAlways, 0, true},
		{"Always after failure", worker.RestartAlways, 1, true},
		{"OnFailure after success", worker.RestartOnFailure, 0, false},
		{"OnFailure after failure", worker.RestartOnFailure, 1, true},
		{"OnFailure after an unseen end", worker.RestartOnFailure, runtime.UnknownCode, true},
		{"Never after success", worker.RestartNever, 0, false},
		{"Never after failure", worker.RestartNever, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				a := n.begin()
				defer a.end()
				w := aWorker("a", policy(tc.policy))
				a.Ensure(w, Past{})
				a.phase(t, "a", Running)
				n.exit(w.ContainerID(), tc.code)
				if tc.again {
					if s := a.phase(t, "a", Running); s.Restarts != 1 || s.LastExit.Code != tc.code {
						t.Errorf("after the restart: %+v", s)
					}
					return
				}
				a.phase(t, "a", Ended)
				a.end()
				b := n.begin()
				defer b.end()
				b.Ensure(w, Past{})
				b.phase(t, "a", Ended) // nor after the agent's restart
				time.Sleep(time.Hour)
				b.phase(t, "a", Ended)
			})
		})
	}
}

func TestBackOffGrowsAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		for i, want := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 300 * time.Second, 300 * time.Second} {
			a.phase(t, "a", Running)
			n.exit(w.ContainerID(), 1)
			begin := time.Now()
			if want > 0 {
				a.phase(t, "a", BackOff)
				time.Sleep(want - time.Nanosecond)
				a.phase(t, "a", BackOff)
				time.Sleep(time.Nanosecond)
			}
			a.phase(t, "a", Running)
			if took := time.Since(begin); took != want {
				t.Errorf("restart %d after %v, want %v", i+1, took, want)
			}
		}
		time.Sleep(healthyRunTime)
		n.exit(w.ContainerID(), 1)
		if s := a.phase(t, "a", Running); s.Restarts != 9 {
			t.Errorf("%d restarts, want 9: the last at once, after a healthy run", s.Restarts)
		}
	})
}

// TestFailedStep fails each step of a launch once: what was made is undone,
// the reason is told, and the launch succeeds after the pause.
func TestFailedStep(t *testing.T) {
	for i, step := range []Step{StepLocalize, StepMount, StepPrepare, StepCreate, StepStart} {
		t.Run(string(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				a := n.begin()
				defer a.end()
				trouble := errors.New("trouble")
				n.setFailure(string(step), trouble)
				a.Ensure(aWorker("a"), Past{})
				s := a.phase(t, "a", BackOff)
				var failed *StepError
				if !errors.As(s.Err, &failed) || failed.Step != step || !errors.Is(s.Err, trouble) {
					t.Errorf("error %v, want step %s", s.Err, step)
				}
				undone := teardownCalls
				if !slices.Contains(launchCalls[:i+1], "create") {
					undone = []string{"unmount"} // there is no container
				}
				wantCalls(t, n, slices.Concat(launchCalls[:i+1], undone)...)
				n.setFailure(string(step), nil)
				time.Sleep(10 * time.Second)
				if s := a.phase(t, "a", Running); s.Restarts != 0 || s.Err != nil {
					t.Errorf("after recovery: %+v", s)
				}
			})
		})
	}
}

func TestFailedRemovalIsTriedAgain(t *testing.T) {
	for _, call := range []string{"terminated", "delete", "unmount", "remove bundle", "remove logs"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				a := n.begin()
				defer a.end()
				a.Ensure(aWorker("a"), Past{})
				a.phase(t, "a", Running)
				n.setFailure(call, errors.New("trouble"))
				a.Remove("a")
				if s := a.phase(t, "a", Stopping); s.Err == nil {
					t.Error("the failure is not told")
				}
				n.setFailure(call, nil)
				time.Sleep(10 * time.Second)
				a.phase(t, "a", Removed)
			})
		})
	}
}

// TestFailedTeardownIsRepeatedBeforeTheNextStart: remains of one run must not
// meet the next.
func TestFailedTeardownIsRepeatedBeforeTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		a.phase(t, "a", Running)
		n.setFailure("unmount", errors.New("busy"))
		n.exit(w.ContainerID(), 1)
		synctest.Wait()
		n.setFailure("unmount", nil)
		n.taken()
		time.Sleep(30 * time.Second)
		a.phase(t, "a", Running)
		wantCalls(t, n, append([]string{"unmount"}, launchCalls...)...) // the container is deleted
	})
}

func TestSamePortWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		first := aWorker("a")
		second := aWorker("b", func(w *worker.Spec) { w.ID = "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb" })
		third := aWorker("c", func(w *worker.Spec) { w.Port = 6704 }) // the id of the first
		a.Ensure(first, Past{})
		a.Ensure(second, Past{})
		a.Ensure(third, Past{})
		a.phase(t, "a", Running)
		for _, uid := range []string{"b", "c"} {
			if s := a.phase(t, uid, Waiting); s.Blocker != "storm/w-a" {
				t.Errorf("worker %s waits for %q", uid, s.Blocker)
			}
		}
		a.Remove("c")
		a.phase(t, "c", Removed)
		a.Remove("a")
		a.phase(t, "a", Removed)
		a.phase(t, "b", Running)
		if len(n.containers) != 1 {
			t.Errorf("%d containers, want 1", len(n.containers))
		}
	})
}

func TestRemoveWhileLaunching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		n.setFailure("mount", errors.New("trouble"))
		a.Ensure(aWorker("a"), Past{})
		a.phase(t, "a", BackOff)
		a.Remove("a")
		a.Remove("a")
		a.phase(t, "a", Removed)
	})
}

func TestAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a")
		id := w.ContainerID()
		first := n.begin()
		first.Ensure(w, Past{})
		pid := first.phase(t, "a", Running).PID
		first.end()
		n.taken()

		second := n.begin()
		if s := second.phase(t, "a", Running); s.PID != pid {
			t.Errorf("pid %d after the agent's restart, want %d", s.PID, pid)
		}
		second.Ensure(w, Past{})
		second.phase(t, "a", Running)
		wantCalls(t, n, "keep mounts of "+id)
		if !n.held[id] {
			t.Error("the layers of an adopted worker are not held")
		}
		second.end()

		n.exit(id, 7) // while no agent is there
		third := n.begin()
		defer third.end()
		s := third.phase(t, "a", BackOff) // nobody has said yet that it shall run
		if s.LastExit == nil || s.LastExit.Code != 7 {
			t.Errorf("last exit %+v, want code 7", s.LastExit)
		}
		third.Ensure(w, Past{})
		if s := third.phase(t, "a", Running); s.Restarts != 1 {
			t.Errorf("%d restarts, want 1", s.Restarts)
		}
	})
}

// TestCrashAtEveryCall ends the agent at each call of a launch, and wants the
// next one to have exactly one running container.
func TestCrashAtEveryCall(t *testing.T) {
	for _, call := range launchCalls {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				first := n.begin()
				n.setFailure(call, context.Canceled)
				n.called = func(name string) {
					if name == call {
						first.kill()
					}
				}
				first.Ensure(aWorker("a"), Past{})
				first.Wait()
				n.called = nil
				n.setFailure(call, nil)
				if calls := n.taken(); calls[len(calls)-1] != call {
					t.Fatalf("the crash came after %v", calls)
				}

				second := n.begin()
				defer second.end()
				second.Ensure(aWorker("a"), Past{})
				second.phase(t, "a", Running)
				if len(n.containers) != 1 {
					t.Errorf("%d containers, want 1", len(n.containers))
				}
			})
		})
	}
}

func TestPastWithoutRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now()
		exit := &runtime.Exit{Code: 3, At: at.Add(-time.Minute)}
		for _, tc := range []struct {
			name   string
			policy worker.RestartPolicy
			past   Past
			phase  Phase
			code   int
		}{
			{"ran when the node was rebooted", worker.RestartNever, Past{Launched: 1, RunningSince: at}, Ended, runtime.UnknownCode},
			{"had ended before", worker.RestartNever, Past{Launched: 2, LastExit: exit}, Ended, 3},
			{"ran again when the node was rebooted", worker.RestartNever, Past{Launched: 2, RunningSince: at, LastExit: exit}, Ended, runtime.UnknownCode},
			{"starts again", worker.RestartAlways, Past{Launched: 2, RunningSince: at}, Running, runtime.UnknownCode},
		} {
			n := newNode(t)
			a := n.begin()
			a.Ensure(aWorker("a", policy(tc.policy)), tc.past)
			s := a.phase(t, "a", tc.phase)
			if s.LastExit == nil || s.LastExit.Code != tc.code {
				t.Errorf("%s: last exit %+v, want code %d", tc.name, s.LastExit, tc.code)
			}
			if tc.phase == Running && s.Restarts != tc.past.Launched {
				t.Errorf("%s: %d restarts, want %d", tc.name, s.Restarts, tc.past.Launched)
			}
			a.end()
		}
	})
}

// strayID is a container of nobody's, on the port of aWorker.
const strayID = "6703-5c23ca4b-6062-4d08-8ac3-b09e7d35e7cb"

func (n *node) addStray() {
	n.containers[strayID] = &fakeContainer{state: runtime.State{ID: strayID, Status: runtime.Running}, ended: make(chan struct{})}
}

func TestRecoverDeletesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addStray()
		a := n.begin()
		defer a.end()
		synctest.Wait()
		if len(n.containers) != 0 {
			t.Error("a container that no record names is left")
		}
		wantCalls(t, n, "keep mounts of "+strayID, "delete", "unmount", "sweep "+strayID)
	})
}
