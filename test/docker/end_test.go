package docker

import (
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func never(spec *api.StormWorkerSpec) { spec.RestartPolicy = api.RestartNever }

func TestExits(t *testing.T) {
	g := expect(t)
	done := apply(t, aWorker("done", func(spec *api.StormWorkerSpec) {
		spec.Command, spec.RestartPolicy = shell("exit 0"), api.RestartOnFailure
	}))
	loops := apply(t, aWorker("loops", func(spec *api.StormWorkerSpec) { spec.Command = shell("exit 3") }))
	killed := apply(t, aWorker("killed", never))
	missing := apply(t, aWorker("missing", never, func(spec *api.StormWorkerSpec) { spec.Command = []string{"no-such-program"} }))
	hungry := apply(t, aWorker("hungry", never, func(spec *api.StormWorkerSpec) {
		spec.Command = []string{"bash", "-c", `x=x; while :; do x=$x$x; done`}
		spec.Resources.Limits.Memory = new(resource.MustParse("32Mi"))
	}))
	waitFor(t, killed, api.ReasonRunning)
	g.Expect(syscall.Kill(int(killed.Status.PID), syscall.SIGKILL)).To(Succeed())
	waitFor(t, killed, api.ReasonFailed)
	g.Expect(killed.Status.LastExit.ExitCode).To(BeEquivalentTo(137))
	g.Expect(killed.Status.LastExit.Signal).To(BeEquivalentTo(syscall.SIGKILL))
	waitFor(t, done, api.ReasonCompleted)
	waitFor(t, missing, api.ReasonCommandNotFound)
	waitFor(t, hungry, api.ReasonOOMKilled)
	g.Expect(hungry.Status.LastExit.OOMKilled).To(BeTrue())
	waitFor(t, loops, api.ReasonCrashLoopBackOff)
	g.Eventually(func() int32 { ready(t, loops); return loops.Status.RestartCount }).Should(BeNumerically(">=", 1))
	g.Expect(loops.Status.LastExit.ExitCode).To(BeEquivalentTo(3))
	// What has ended is not left in Docker, as Storm's supervisor leaves it.
	g.Eventually(func() string { return docker(t, "ps", "--all", "--quiet") }).Should(BeEmpty())
}

// TestAgentCrash kills the agent while workers run: they run on, are adopted,
// and an end that nobody saw is told with its code.
func TestAgentCrash(t *testing.T) {
	g := expect(t)
	stays := apply(t, aWorker("stays"))
	ends := apply(t, aWorker("ends", never, func(spec *api.StormWorkerSpec) {
		spec.Command = shell(`trap "exit 7" USR1; echo waits; while :; do sleep 0.1; done`)
	}))
	waitFor(t, stays, api.ReasonRunning)
	waitFor(t, ends, api.ReasonRunning)
	g.Eventually(func() string { return logOf(t, ends) }).Should(ContainSubstring("waits"))
	pid := stays.Status.PID

	g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
	t.Cleanup(func() { g.Expect(s.StartAgent()).To(Succeed()) })
	g.Expect(syscall.Kill(int(ends.Status.PID), syscall.SIGUSR1)).To(Succeed())
	g.Eventually(func() string { return docker(t, "ps", "--quiet", "--filter", "name="+ends.ID()) }).Should(BeEmpty())
	g.Expect(s.StartAgent()).To(Succeed())
	waitFor(t, ends, api.ReasonFailed)
	g.Expect(ends.Status.LastExit.ExitCode).To(BeEquivalentTo(7))
	waitFor(t, stays, api.ReasonRunning)
	g.Expect(stays.Status.PID).To(Equal(pid))
	g.Expect(stays.Status.RestartCount).To(BeZero())

	// A container that no record names is nobody's.
	g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
	g.Expect(s.LoseRecord(stays)).To(Succeed())
	g.Expect(s.StartAgent()).To(Succeed())
	g.Eventually(func() int64 { ready(t, stays); return stays.Status.PID }).ShouldNot(Or(Equal(pid), BeZero()), "it is started anew")
	g.Expect(docker(t, "ps", "--all", "--quiet")).NotTo(ContainSubstring("\n"), "one container")
}
