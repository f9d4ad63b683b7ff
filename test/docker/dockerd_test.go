package docker

import (
	"context"
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// resume starts dockerd again.
func resume(t *testing.T, config string) {
	t.Helper()
	if err := d.Resume(context.Background(), config); err != nil {
		t.Fatal(err)
	}
}

// end ends dockerd, which is there again when the test ends.
func end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := d.End(t.Context(), sig); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // whatever became of it
		if err := d.End(context.Background(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		resume(t, "{}")
	})
}

// TestLiveRestore: containers run on without dockerd, and nobody takes its
// absence for their end.
func TestLiveRestore(t *testing.T) {
	g := expect(t)
	end(t, syscall.SIGTERM)
	resume(t, `{"live-restore": true}`)
	stays := apply(t, aWorker("stays"))
	ends := apply(t, aWorker("ends", never, func(spec *api.StormWorkerSpec) {
		spec.Command = shell(`trap "exit 7" USR1; echo waits; while :; do sleep 0.1; done`)
	}))
	waitFor(t, stays, api.ReasonRunning)
	waitFor(t, ends, api.ReasonRunning)
	g.Eventually(func() string { return logOf(t, ends) }).Should(ContainSubstring("waits"))
	pid := stays.Status.PID
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		g.Expect(d.End(t.Context(), sig)).To(Succeed())
		if sig == syscall.SIGKILL {
			g.Expect(syscall.Kill(int(ends.Status.PID), syscall.SIGUSR1)).To(Succeed())
		}
		resume(t, `{"live-restore": true}`)
	}
	waitFor(t, ends, api.ReasonFailed)
	g.Expect(ends.Status.LastExit.ExitCode).To(BeEquivalentTo(7), "it ended while dockerd was away")
	waitFor(t, stays, api.ReasonRunning)
	g.Expect(stays.Status.PID).To(Equal(pid))
	g.Expect(stays.Status.RestartCount).To(BeZero())
}

// TestRestartOfDockerd: without live-restore containers end with dockerd, and
// their workers are started again.
func TestRestartOfDockerd(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("again"))
	waitFor(t, w, api.ReasonRunning)
	pid := w.Status.PID
	end(t, syscall.SIGTERM)
	resume(t, "{}")
	g.Eventually(func() int32 { ready(t, w); return w.Status.RestartCount }).Should(BeEquivalentTo(1))
	waitFor(t, w, api.ReasonRunning)
	g.Expect(w.Status.PID).NotTo(Equal(pid))
	g.Expect(w.Status.LastExit.ExitCode).NotTo(BeZero())
}

// TestDockerdAway: at the agent's start and at a launch. Workers of Runc do not
// notice, and those of Docker wait until it is back.
func TestDockerdAway(t *testing.T) {
	g := expect(t)
	old := apply(t, aWorker("old"))
	waitFor(t, old, api.ReasonRunning)
	g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
	t.Cleanup(func() { g.Expect(s.StartAgent()).To(Succeed()) })
	end(t, syscall.SIGTERM)
	g.Expect(s.StartAgent()).To(Succeed())

	squashed := apply(t, aWorker("squashed", func(spec *api.StormWorkerSpec) { spec.Runtime, spec.Image = api.RuntimeRunc, "" }))
	waitFor(t, squashed, api.ReasonRunning)
	fresh := apply(t, aWorker("fresh"))
	c := waitFor(t, fresh, api.ReasonDockerUnavailable)
	g.Expect(c.Message).To(And(ContainSubstring(d.Socket()), ContainSubstring("install Docker on this node and start it")))
	deleted := apply(t, aWorker("deleted"))
	waitFor(t, deleted, api.ReasonDockerUnavailable)
	g.Expect(s.Client.Delete(t.Context(), deleted)).To(Succeed())
	waitFor(t, deleted, api.ReasonStopping)
	g.Expect(ready(t, old).Reason).To(Equal(api.ReasonRunning), "as it was recorded")

	resume(t, "{}")
	waitFor(t, fresh, api.ReasonRunning)
	remove(t, deleted)
	g.Eventually(func() int32 { ready(t, old); return old.Status.RestartCount }).Should(BeEquivalentTo(1), "it ended with dockerd")
	waitFor(t, old, api.ReasonRunning)
	for _, w := range []*api.StormWorker{old, squashed, fresh} {
		remove(t, w)
	}
	nothingLeft(t)
}
