package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// limited gives a worker a limit of memory and no second life.
func limited(memory string, command ...string) func(*api.StormWorkerSpec) {
	return func(spec *api.StormWorkerSpec) {
		limit := resource.MustParse(memory)
		spec.Resources.Limits.Memory, spec.RestartPolicy = &limit, api.RestartNever
		spec.Command = command
	}
}

// cgroupFile reads a file of a worker's cgroup, which one of the hierarchies
// has; "" if none has it.
func cgroupFile(t *testing.T, w *api.StormWorker, file string) string {
	t.Helper()
	found, err := s.CgroupDirs(filepath.Join(w.ContainerID(), file))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if content, err := os.ReadFile(f); err == nil {
			return strings.TrimSpace(string(content))
		}
	}
	return ""
}

// TestLimitsOfARunningWorker: the kernel's files say what the spec and the
// node's configuration say, in either version of cgroups.
func TestLimitsOfARunningWorker(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("limits", limited("64Mi", shell(forever)...), func(spec *api.StormWorkerSpec) {
		cpu := resource.MustParse("1500m")
		spec.Resources.Limits.CPU, spec.NUMAZone = &cpu, new(int32(0))
	}))
	waitFor(t, w, api.ReasonRunning)
	want := map[string]string{"pids.max": "256", "cpuset.cpus": "0", "cpuset.mems": "0"}
	if cgroupFile(t, w, "cgroup.controllers") != "" {
		want["cpu.max"], want["memory.max"], want["memory.swap.max"] = "150000 100000", "67108864", "0"
	} else {
		want["cpu.cfs_quota_us"], want["cpu.cfs_period_us"], want["memory.limit_in_bytes"] = "150000", "100000", "67108864"
	}
	for file, limit := range want {
		g.Expect(cgroupFile(t, w, file)).To(Equal(limit), file)
	}
}

func TestForkBombEndsAtItsLimit(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("bomb", limited("1Gi", shell("bomb() { bomb | bomb; }; bomb & wait")...)))
	waitFor(t, w, api.ReasonRunning)
	g.Eventually(func() string { return cgroupFile(t, w, "pids.events") }).Should(MatchRegexp(`max [1-9]`))
	g.Expect(strconv.Atoi(cgroupFile(t, w, "pids.current"))).To(BeNumerically("<=", 256))
	g.Expect(syscall.Kill(int(w.Status.PID), syscall.SIGKILL)).To(Succeed())
	c := waitFor(t, w, api.ReasonFailed)
	g.Expect(c.Message).To(And(ContainSubstring("signal 9"), ContainSubstring("stormcell.worker.pids.limit")))
}

const eat = "x=x; while :; do x=$x$x; done"

func TestOutOfMemoryIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		script, message string
		code            int32
	}{
		"of the worker":  {eat, "was killed by the kernel for its memory limit", 137},
		"of its child":   {`bash -c "` + strings.ReplaceAll(eat, "$", `\$`) + `"; exit 5`, "ended with exit code 5 after the kernel had killed one of its processes", 5},
		"without agents": {"trap '" + eat + "' USR1; echo waits; while :; do sleep 0.1; done", "was killed by the kernel for its memory limit", 137},
	} {
		t.Run(name, func(t *testing.T) {
			g := expect(t)
			w := apply(t, aWorker("oom-"+strings.ReplaceAll(name, " ", "-"), limited("32Mi", shell(tc.script)...)))
			if name == "without agents" {
				waitFor(t, w, api.ReasonRunning)
				g.Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("waits"))
				g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
				g.Expect(syscall.Kill(int(w.Status.PID), syscall.SIGUSR1)).To(Succeed())
				g.Eventually(func() bool { return processRuns(w.Status.PID) }).Should(BeFalse())
				g.Expect(s.StartAgent()).To(Succeed())
			}
			c := waitFor(t, w, api.ReasonOOMKilled)
			g.Expect(c.Message).To(And(ContainSubstring(tc.message), ContainSubstring("limits.memory")))
			g.Expect(w.Status.LastExit.OOMKilled).To(BeTrue())
			g.Expect(w.Status.LastExit.ExitCode).To(Equal(tc.code))
		})
	}
}
