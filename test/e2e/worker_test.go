package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

func TestWorkerRunsConfinedAndLeavesNothing(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("runs", func(spec *api.StormWorkerSpec) {
		spec.Env = []api.EnvVar{{Name: "GREETING", Value: `it's "quoted" $HOME`}}
		cpu := resource.MustParse("1500m")
		spec.Resources.Limits.CPU = &cpu
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
	g.Expect(cpuLimits(t, w)).To(Or(Equal([]string{"cpu.cfs_quota_us 150000"}), Equal([]string{"cpu.max 150000 100000"})))

	begin := time.Now()
	remove(t, w)
	t.Logf("deleted in %v, grace period 1 s", time.Since(begin))
	g.Expect(s.Leftovers()).To(BeEmpty())
}

// cpuLimits reads the file of either version of cgroups that limits a worker's
// CPU time; only one of them is there.
func cpuLimits(t *testing.T, w *api.StormWorker) (limits []string) {
	t.Helper()
	g := expect(t)
	for _, file := range []string{"cpu.cfs_quota_us", "cpu.max"} {
		found, err := s.CgroupDirs(filepath.Join(w.ContainerID(), file))
		g.Expect(err).NotTo(HaveOccurred())
		for _, f := range found {
			content, err := os.ReadFile(f)
			g.Expect(err).NotTo(HaveOccurred())
			limits = append(limits, file+" "+strings.TrimSpace(string(content)))
		}
	}
	return limits
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

func TestOutOfMemoryIsTold(t *testing.T) {
	w := apply(t, aWorker("oom", func(spec *api.StormWorkerSpec) {
		memory := resource.MustParse("32Mi")
		spec.Resources.Limits.Memory, spec.RestartPolicy = &memory, api.RestartNever
		spec.Command = shell("x=x; while :; do x=$x$x; done")
	}))
	c := waitFor(t, w, api.ReasonOOMKilled)
	expect(t).Expect(c.Message).To(ContainSubstring("limits.memory"))
	expect(t).Expect(w.Status.LastExit.OOMKilled).To(BeTrue())
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

func TestSharedLayersAreMountedOnce(t *testing.T) {
	g := expect(t)
	var workers []*api.StormWorker
	for i := range 5 {
		workers = append(workers, apply(t, aWorker(fmt.Sprintf("shares-%d", i))))
	}
	for _, w := range workers {
		waitFor(t, w, api.ReasonRunning)
	}
	mounts, err := filepath.Glob(s.Path("run", "layers", "*", "mnt"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mounts).To(HaveLen(2), "the image has two layers")
}
