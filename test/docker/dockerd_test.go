package docker

import (
	"bytes"
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
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
// notice. Those of Docker wait until it is back, but for one that never came to be: it
// is removed at once, and its port is free. New ones are not placed on the node.
func TestDockerdAway(t *testing.T) {
	g := expect(t)
	old := apply(t, aWorker("old"))
	waitFor(t, old, api.ReasonRunning)
	unborn := apply(t, aWorker("unborn", func(spec *api.StormWorkerSpec) { spec.Image = nowhere }))
	waitFor(t, unborn, api.ReasonImagePullFailed)
	g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
	t.Cleanup(func() { g.Expect(s.StartAgent()).To(Succeed()) })
	end(t, syscall.SIGTERM)
	g.Expect(s.StartAgent()).To(Succeed())

	c := waitFor(t, unborn, api.ReasonDockerUnavailable)
	g.Expect(c.Message).To(And(ContainSubstring(d.Socket()), ContainSubstring("install Docker on this node and start it")))
	remove(t, unborn)
	heir := apply(t, aWorker("heir", inRunc, func(spec *api.StormWorkerSpec) { spec.Port, spec.NodeName = unborn.Spec.Port, stack.NodeName }))
	waitFor(t, heir, api.ReasonRunning)
	g.Eventually(func() []api.Runtime { return runtimes(t) }).Should(Equal([]api.Runtime{api.RuntimeRunc}))
	fresh := apply(t, aWorker("fresh"))
	c = waitFor(t, fresh, api.ReasonNoNodeFits)
	g.Expect(c.Message).To(ContainSubstring("all nodes do not have runtime Docker"))
	deleted := apply(t, aWorker("deleted", func(spec *api.StormWorkerSpec) { spec.NodeName = stack.NodeName }))
	waitFor(t, deleted, api.ReasonRuntimeMissing)
	remove(t, deleted)
	g.Expect(ready(t, old).Reason).To(Equal(api.ReasonRunning), "as it was recorded")

	resume(t, "{}")
	waitFor(t, fresh, api.ReasonRunning)
	g.Eventually(func() int32 { ready(t, old); return old.Status.RestartCount }).Should(BeEquivalentTo(1), "it ended with dockerd")
	waitFor(t, old, api.ReasonRunning)
	for _, w := range []*api.StormWorker{old, heir, fresh} {
		remove(t, w)
	}
	nothingLeft(t)
}

// TestContainerThatMayExist: what Docker has of a worker is not forgotten because it is
// away.
func TestContainerThatMayExist(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("kept"))
	waitFor(t, w, api.ReasonRunning)
	end(t, syscall.SIGKILL) // else the agent sees the container's end, and deletes it in time
	g.Expect(s.Client.Delete(t.Context(), w)).To(Succeed())
	g.Eventually(func() string { return ready(t, w).Message }).Should(ContainSubstring("start dockerd on this node"))
	resume(t, "{}")
	remove(t, w)
	nothingLeft(t)
}

// TestDockerTurnedOff: where the configuration turns Docker off, its workers run to
// their end, are not started again, and are removed.
func TestDockerTurnedOff(t *testing.T) {
	g := expect(t)
	on, err := os.ReadFile(s.Path("storm.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	configure := func(content []byte) {
		g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
		g.Expect(os.WriteFile(s.Path("storm.yaml"), content, 0o600)).To(Succeed())
		started := time.Now()
		g.Expect(s.StartAgent()).To(Succeed())
		g.Expect(s.AwaitAgent(context.Background(), started)).To(Succeed())
	}
	ends, stays := apply(t, aWorker("ends")), apply(t, aWorker("stays"))
	waitFor(t, ends, api.ReasonRunning)
	waitFor(t, stays, api.ReasonRunning)
	configure(bytes.Replace(on, []byte("stormcell.docker.enable: true"), []byte("stormcell.docker.enable: false"), 1))
	t.Cleanup(func() { configure(on) })
	g.Eventually(func() []api.Runtime { return runtimes(t) }).Should(Equal([]api.Runtime{api.RuntimeRunc}))
	waitFor(t, ends, api.ReasonRunning)
	docker(t, "kill", ends.ID())
	g.Expect(waitFor(t, ends, api.ReasonRuntimeMissing).Message).To(ContainSubstring("stormcell.docker.enable"))
	remove(t, ends)
	g.Expect(ready(t, stays).Reason).To(Equal(api.ReasonRunning))
	remove(t, stays)
	nothingLeft(t)
}

func inRunc(spec *api.StormWorkerSpec) { spec.Runtime, spec.Image = api.RuntimeRunc, "" }

// runtimes are those that the agent reports.
func runtimes(t *testing.T) []api.Runtime {
	t.Helper()
	n := new(api.StormNode)
	if err := s.Client.Get(t.Context(), client.ObjectKey{Name: stack.NodeName}, n); err != nil {
		t.Fatal(err)
	}
	return n.Status.Runtimes
}
