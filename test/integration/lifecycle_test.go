package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"golang.org/x/sys/unix"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestObedientWorkerGoesAtOnce prints how long the deletion of workers takes
// that end when they are told to.
func TestObedientWorkerGoesAtOnce(t *testing.T) {
	g := expect(t)
	for i := range 5 {
		w := apply(t, aWorker(fmt.Sprintf("obeys-%d", i), func(spec *api.StormWorkerSpec) {
			spec.Command = shell(`trap "exit 0" TERM; echo waits; sleep 1000 & wait`)
			spec.TerminationGracePeriodSeconds = new(int64(30))
		}))
		waitFor(t, w, api.ReasonRunning)
		g.Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("waits"))
		begin := time.Now()
		remove(t, w)
		t.Logf("deleted in %v", time.Since(begin).Round(time.Millisecond))
	}
	g.Expect(s.Leftovers()).To(BeEmpty())
}

// TestEndOfTheWholeContainer: no process outlives its worker, whatever it
// ignores and wherever it has gone.
func TestEndOfTheWholeContainer(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("family", func(spec *api.StormWorkerSpec) {
		spec.Command = shell(`trap "" TERM HUP
			setsid bash -c 'sleep 1001 & (sleep 1002 &); sleep 1003' &
			set -m; sleep 1004 &
			echo waits; while :; do sleep 1005; done`)
	}))
	waitFor(t, w, api.ReasonRunning)
	var pids []string
	g.Eventually(func() []string {
		pids = strings.Fields(cgroupFile(t, w, "cgroup.procs"))
		return pids
	}).Should(HaveLen(6))
	begin := time.Now()
	remove(t, w)
	t.Logf("deleted in %v, of which 1 s is grace", time.Since(begin).Round(time.Millisecond))
	for _, pid := range pids {
		g.Expect("/proc/" + pid).NotTo(BeADirectory())
	}
	g.Expect(s.Leftovers()).To(BeEmpty())
}

// frozen is a file system on a loop device, mounted where workers may write,
// that lets nobody write: whoever tries sleeps in the kernel until the thaw,
// and not even SIGKILL wakes it.
func frozen(t *testing.T) (dir string, thaw func()) {
	t.Helper()
	dir = s.Path("shared")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
		}
	}
	file := s.Path("frozen.ext4")
	run("truncate", "--size", "16M", file)
	run("mkfs.ext4", "-q", file)
	run("mount", "-o", "loop", file, dir)
	t.Cleanup(func() { run("umount", dir); run("rm", file) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	run("fsfreeze", "--freeze", dir)
	cold := true
	thaw = func() {
		if cold {
			cold = false
			run("fsfreeze", "--unfreeze", dir)
		}
	}
	t.Cleanup(thaw)
	return dir, thaw
}

// uninterruptible tells whether a process of the worker sleeps in the kernel.
func uninterruptible(t *testing.T, w *api.StormWorker) bool {
	t.Helper()
	for pid := range strings.FieldsSeq(cgroupFile(t, w, "cgroup.procs")) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && strings.Contains(string(stat), ") D ") {
			return true
		}
	}
	return false
}

func TestStuckWorkerBlocksNobody(t *testing.T) {
	g := expect(t)
	runs := apply(t, aWorker("beside"))
	waitFor(t, runs, api.ReasonRunning)
	dir, thaw := frozen(t)
	stuck := aWorker("stuck", func(spec *api.StormWorkerSpec) { spec.Command = shell("echo x > " + dir + "/file & wait") })
	g.Expect(s.Client.Create(t.Context(), stuck)).To(Succeed())
	t.Cleanup(func() { thaw(); remove(t, stuck) })
	waitFor(t, stuck, api.ReasonRunning)
	g.Eventually(func() bool { return uninterruptible(t, stuck) }).Should(BeTrue())
	g.Expect(s.Client.Delete(t.Context(), stuck)).To(Succeed())
	waitFor(t, stuck, api.ReasonStopping)

	// Others come and go, and so does the agent.
	remove(t, runs)
	begin := time.Now()
	g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
	t.Logf("the agent ended in %v", time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	g.Expect(s.StartAgent()).To(Succeed())
	comes := apply(t, aWorker("comes"))
	waitFor(t, comes, api.ReasonRunning)
	t.Logf("the next agent ran a worker after %v", time.Since(begin).Round(time.Millisecond))
	remove(t, comes)
	g.Eventually(func() string { return ready(t, stuck).Message }).Should(MatchRegexp(`stuck in the kernel.*pid \d+ "bash" in \w+`))
	g.Expect(ready(t, stuck).Reason).To(Equal(api.ReasonStopping))
	t.Log(ready(t, stuck).Message)

	thaw()
	begin = time.Now()
	remove(t, stuck)
	t.Logf("gone %v after the thaw", time.Since(begin).Round(time.Millisecond))
	g.Expect(unix.Access(dir+"/file", unix.F_OK)).To(Succeed(), "the write went through")
}
