package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestStuckContainerDoesNotKeepTheAgentFromStarting: one that cannot be
// deleted, with and without a record, leaves the others alone.
func TestStuckContainerDoesNotKeepTheAgentFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a")
		first := n.begin()
		n.setFailure("start", errors.New("stuck"))
		n.setFailure("delete", errors.New("stuck"))
		first.Ensure(w, Past{})
		first.phase(t, "a", BackOff)
		first.end()
		n.addStray()
		n.setFailure("start", nil)

		second := n.begin() // it fails the test if Recover does
		defer second.end()
		second.Ensure(w, Past{})
		synctest.Wait()
		if len(n.containers) != 2 {
			t.Errorf("%d containers, want the two that are stuck", len(n.containers))
		}
		if s, _ := second.State("a"); s.Phase == Running {
			t.Error("it runs beside what has its port")
		}
		n.setFailure("delete", nil)
		time.Sleep(time.Minute)
		second.phase(t, "a", Running)
		if len(n.containers) != 1 {
			t.Errorf("%d containers, want the one that runs", len(n.containers))
		}
	})
}

// TestWantedAgainWhileBeingRemoved: it begins anew once it is gone.
func TestWantedAgainWhileBeingRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresTerm = true
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		a.phase(t, "a", Running)
		a.Remove("a")
		a.phase(t, "a", Stopping)
		a.Ensure(w, Past{})
		a.phase(t, "a", Stopping)
		time.Sleep(3 * time.Second)
		a.phase(t, "a", Running)

		a.Remove("a")
		a.Ensure(w, Past{})
		a.Remove("a") // the last word counts
		time.Sleep(3 * time.Second)
		a.phase(t, "a", Removed)
		a.Ensure(w, Past{}) // also for one that is gone and not forgotten
		a.phase(t, "a", Running)
	})
}

// TestStartTakenBackIsNoRun: an agent that dies between the record of a start
// and the start leaves no process that has ended.
func TestStartTakenBackIsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a", policy(worker.RestartNever))
		id := w.ContainerID()
		first := n.begin()
		first.Ensure(w, Past{})
		first.phase(t, "a", Running)
		first.end()
		n.containers[id].state.Status = runtime.Created // as if Start had not come

		second := n.begin()
		synctest.Wait()
		second.end() // before anybody confirms it
		third := n.begin()
		defer third.end()
		third.Ensure(w, Past{})
		if s := third.phase(t, "a", Running); s.Restarts != 0 || s.LastExit != nil {
			t.Errorf("a start that never was counts: %+v", s)
		}
	})
}

func TestChangedRestartPolicyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		for range 2 {
			a.phase(t, "a", Running)
			n.exit(w.ContainerID(), 1)
		}
		a.phase(t, "a", BackOff)
		w.RestartPolicy = worker.RestartNever
		a.Ensure(w, Past{})
		a.phase(t, "a", Ended)
		time.Sleep(time.Hour)
		a.phase(t, "a", Ended)
		w.RestartPolicy = worker.RestartAlways
		a.Ensure(w, Past{})
		a.phase(t, "a", Running)

		// The record's policy is older than what the cluster wants.
		w.RestartPolicy = worker.RestartNever
		a.Ensure(w, Past{})
		synctest.Wait()
		a.end()
		n.exit(w.ContainerID(), 1)
		b := n.begin()
		defer b.end()
		synctest.Wait()
		w.RestartPolicy = worker.RestartAlways
		b.Ensure(w, Past{})
		time.Sleep(time.Hour)
		b.phase(t, "a", Running)
	})
}

// TestPurgeWithoutRecord: a worker whose node was rebooted is removed as well.
func TestPurgeWithoutRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		a.Purge(aWorker("a"), Past{Launched: 1, RunningSince: time.Now()})
		a.phase(t, "a", Removed)
		if calls := n.taken(); len(calls) < len(removeCalls) {
			t.Errorf("calls %v, want the whole removal", calls)
		}
	})
}

// TestRemovalHasItsOwnBackOff: the failures of a crash loop do not delay it.
func TestRemovalHasItsOwnBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		for range 8 {
			a.phase(t, "a", Running)
			n.exit(w.ContainerID(), 1)
			time.Sleep(backOffMax)
		}
		n.setFailure("unmount", errors.New("busy"))
		a.Remove("a")
		a.phase(t, "a", Stopping)
		n.setFailure("unmount", nil)
		time.Sleep(backOffFirst)
		a.phase(t, "a", Removed)
	})
}

// TestKillThatReachesNobody: the runtime's deletion has the last word.
func TestKillThatReachesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresTerm, n.ignoresKill = true, true
		a := n.begin()
		defer a.end()
		a.Ensure(aWorker("a"), Past{})
		a.phase(t, "a", Running)
		a.Remove("a")
		time.Sleep(3*time.Second + killWait)
		a.phase(t, "a", Removed)
		wantCalls(t, n, append(append([]string{}, launchCalls...),
			append([]string{syscall.SIGTERM.String(), syscall.SIGKILL.String()}, removeCalls...)...)...)
	})
}

// TestEndThatCannotBeWrittenDown: while the run root is full, the container
// stays, which alone tells the next agent how its process ended.
func TestEndThatCannotBeWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		first := n.begin()
		w := aWorker("a", policy(worker.RestartOnFailure))
		first.Ensure(w, Past{})
		first.phase(t, "a", Running)
		inTheWay := filepath.Join(n.runRoot, "workers", w.ContainerID(), recordName+".new")
		if err := os.Mkdir(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		n.exit(w.ContainerID(), 3)
		if s := first.phase(t, "a", BackOff); s.Err == nil {
			t.Error("nothing is told of the record")
		}
		first.end()
		second := n.begin()
		defer second.end()
		if s := second.phase(t, "a", BackOff); s.LastExit == nil || s.LastExit.Code != 3 {
			t.Errorf("last exit %+v, want code 3", s.LastExit)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		second.Ensure(w, Past{})
		time.Sleep(backOffMax)
		if s := second.phase(t, "a", Running); s.Restarts != 1 {
			t.Errorf("%d restarts, want 1", s.Restarts)
		}
	})
}

// TestWaitingTellsWhom: the one in the way may change.
func TestWaitingTellsWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a := n.begin()
		defer a.end()
		ids := map[string]string{
			"a": "aaaaaaaa-6062-4d08-8ac3-b09e7d35e7cb", "b": "bbbbbbbb-6062-4d08-8ac3-b09e7d35e7cb", "c": "cccccccc-6062-4d08-8ac3-b09e7d35e7cb",
		}
		for _, uid := range []string{"a", "b", "c"} {
			a.Ensure(aWorker(uid, func(w *worker.Spec) { w.ID = ids[uid] }), Past{})
		}
		a.phase(t, "a", Running)
		a.Remove("a")
		synctest.Wait()
		running, waiting := "b", "c"
		if s, _ := a.State("c"); s.Phase == Running {
			running, waiting = "c", "b"
		}
		a.phase(t, running, Running)
		if s := a.phase(t, waiting, Waiting); s.Blocker != "storm/w-"+running {
			t.Errorf("waits for %s, want for w-%s", s.Blocker, running)
		}
	})
}

// TestPurgeByTheLatestGracePeriod: the one of the record may be older.
func TestPurgeByTheLatestGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresTerm = true
		first := n.begin()
		w := aWorker("a")
		first.Ensure(w, Past{})
		first.phase(t, "a", Running)
		first.end()
		second := n.begin()
		defer second.end()
		w.GracePeriod = 9 * time.Second
		second.Purge(w, Past{})
		time.Sleep(w.GracePeriod - time.Nanosecond)
		second.phase(t, "a", Stopping)
		time.Sleep(time.Nanosecond)
		second.phase(t, "a", Removed)
	})
}

// TestStuckRemovalGoesOnWithItsEnd: a process that was stuck in the kernel is
// waited for, and not only tried again by the back-off.
func TestStuckRemovalGoesOnWithItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.ignoresTerm, n.ignoresKill = true, true
		stuck := fmt.Errorf("%w: process 4711", process.ErrStuck)
		n.setFailure("delete", stuck)
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		a.Ensure(w, Past{})
		a.phase(t, "a", Running)
		a.Remove("a")
		time.Sleep(time.Hour) // the back-off is long by now
		if s := a.phase(t, "a", Stopping); !errors.Is(s.Err, process.ErrStuck) {
			t.Errorf("error %v, want that it is stuck", s.Err)
		}
		n.setFailure("delete", nil)
		n.exit(w.ContainerID(), 137)
		if s := a.phase(t, "a", Removed); s.LastExit == nil || s.LastExit.Code != 137 {
			t.Errorf("last exit %+v", s.LastExit)
		}
	})
}

// TestAgentEndsWhileARemovalHangs: what it leaves, the next one removes.
func TestAgentEndsWhileARemovalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.deleteHangs = true
		first := n.begin()
		first.Ensure(aWorker("a"), Past{})
		first.phase(t, "a", Running)
		first.Remove("a")
		first.phase(t, "a", Stopping)
		before := time.Now()
		first.end()
		if took := time.Since(before); took > 0 {
			t.Errorf("it took %v of the test's own clock", took)
		}
		n.deleteHangs = false
		second := n.begin()
		defer second.end()
		second.Purge(aWorker("a"), Past{})
		second.phase(t, "a", Removed)
	})
}
