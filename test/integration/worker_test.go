package integration

import (
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

func TestWorkerRunsConfinedAndLeavesNothing(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("runs", func(spec *api.StormWorkerSpec) {
		spec.Env = []api.EnvVar{{Name: "GREETING", Value: `it's "quoted" $HOME`}}
		spec.Command = shell(`id -u; cat /proc/self/status; echo "says $GREETING"; mkdir /x; head -c 3 /proc/1/environ >&2; ` + forever)
	}))
	waitFor(t, w, api.ReasonRunning)
	g.Expect(w.Status.NodeName).To(Equal(stack.NodeName))
	g.Expect(w.Status.Image.Tag).To(Equal(stack.Image), "the default image")
	g.Expect(processRuns(w.Status.PID)).To(BeTrue())
	g.Eventually(func() string { return logOf(t, w) }).Should(And(
		ContainSubstring("stdout F 65534\n"),
		MatchRegexp(`CapEff:\s+0000000000000000`),
		MatchRegexp(`CapBnd:\s+0000000000000000`),
		MatchRegexp(`NoNewPrivs:\s+1`),
		ContainSubstring(`says it's "quoted" $HOME`),
		ContainSubstring("Read-only file system"),
	))

	remove(t, w)
	g.Expect(s.Leftovers()).To(BeEmpty())
}

func TestRestartPolicies(t *testing.T) {
	g := expect(t)
	done := apply(t, aWorker("done", func(spec *api.StormWorkerSpec) {
		spec.Command, spec.RestartPolicy = shell("exit 0"), api.RestartOnFailure
	}))
	loops := apply(t, aWorker("loops", func(spec *api.StormWorkerSpec) { spec.Command = shell("exit 3") }))
	killed := apply(t, aWorker("killed", func(spec *api.StormWorkerSpec) { spec.RestartPolicy = api.RestartNever }))
	waitFor(t, killed, api.ReasonRunning)
	g.Expect(syscall.Kill(int(killed.Status.PID), syscall.SIGKILL)).To(Succeed())
	waitFor(t, done, api.ReasonCompleted)
	g.Expect(done.Status.RestartCount).To(BeZero())
	waitFor(t, loops, api.ReasonCrashLoopBackOff)
	g.Eventually(func() int32 { ready(t, loops); return loops.Status.RestartCount }).Should(BeNumerically(">=", 1))
	g.Expect(loops.Status.LastExit.ExitCode).To(BeEquivalentTo(3))
	waitFor(t, killed, api.ReasonFailed)
	g.Expect(killed.Status.LastExit.ExitCode).To(BeEquivalentTo(137))
	g.Expect(killed.Status.LastExit.Signal).To(BeEquivalentTo(syscall.SIGKILL))
}

// TestAgentCrash kills the agent while workers run: they run on, are adopted,
// and an end that nobody saw is told with its code.
func TestAgentCrash(t *testing.T) {
	g := expect(t)
	stays := apply(t, aWorker("stays"))
	ends := apply(t, aWorker("ends", func(spec *api.StormWorkerSpec) {
		spec.RestartPolicy = api.RestartNever
		spec.Command = shell(`trap "exit 7" USR1; echo waits; while :; do sleep 0.1; done`)
	}))
	waitFor(t, stays, api.ReasonRunning)
	waitFor(t, ends, api.ReasonRunning)
	g.Eventually(func() string { return logOf(t, ends) }).Should(ContainSubstring("waits"))
	pid := stays.Status.PID

	g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
	t.Cleanup(func() { g.Expect(s.StartAgent()).To(Succeed()) })
	g.Expect(processRuns(pid)).To(BeTrue(), "a worker outlives the agent")
	g.Expect(syscall.Kill(int(ends.Status.PID), syscall.SIGUSR1)).To(Succeed())
	g.Eventually(func() bool { return processRuns(ends.Status.PID) }).Should(BeFalse())
	deleted := apply(t, aWorker("late"))
	g.Expect(s.Client.Delete(t.Context(), deleted)).To(Succeed())
	g.Expect(s.StartAgent()).To(Succeed())

	waitFor(t, ends, api.ReasonFailed)
	g.Expect(ends.Status.LastExit.ExitCode).To(BeEquivalentTo(7))
	waitFor(t, stays, api.ReasonRunning)
	g.Expect(stays.Status.PID).To(Equal(pid), "the worker is adopted, not started again")
	g.Expect(stays.Status.RestartCount).To(BeZero())
}
