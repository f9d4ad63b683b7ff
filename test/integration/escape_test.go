package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"golang.org/x/sys/unix"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// buildEscape puts the program that wants out where workers see it.
func buildEscape(t *testing.T) string {
	t.Helper()
	program := s.Path("bind", "escape")
	build := exec.Command("go", "build", "-o", program, "./testdata/escape")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build escape: %v: %s", err, out)
	}
	return program
}

// makeCanary makes a directory of root's with a file that nobody may touch.
func makeCanary(t *testing.T) string {
	t.Helper()
	dir := s.Path("canary")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// look describes a directory and what is in it: owners, modes, times, contents.
func look(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{dir}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		content, _ := os.ReadFile(p)
		fmt.Fprintf(&b, "%s %o %d:%d %d links, changed %d.%09d: %q\n", p, st.Mode, st.Uid, st.Gid, st.Nlink, st.Ctim.Sec, st.Ctim.Nsec, content)
	}
	return b.String()
}

// startBystander starts a process of the worker's user that is none of its.
func startBystander(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("sleep", "infinity")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// TestEscapes runs a worker that tries each way out, plants links, fifos, pid
// files and bundles at every name that root uses in its directories, and is
// started again, adopted and removed over them.
func TestEscapes(t *testing.T) {
	g := expect(t)
	program, canary, bystander := buildEscape(t), makeCanary(t), startBystander(t)
	before := look(t, canary)
	neighbour := apply(t, aWorker("neighbour"))
	waitFor(t, neighbour, api.ReasonRunning)

	escaping := func(spec *api.StormWorkerSpec) {
		artifacts := s.Path("artifacts", spec.TopologyID, strconv.Itoa(int(spec.Port)))
		hidden := []string{
			s.Path("run"), s.Path("log"), s.Path("storm.yaml"), s.Path("storm", "workers", neighbour.ID()), s.Path("storm", "workers-users", neighbour.ID()),
			s.Path("artifacts", spec.TopologyID, strconv.Itoa(int(neighbour.Spec.Port))), canary, "/root", "/var/lib/dpkg",
		}
		spec.WorkerID = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
		spec.Command = []string{
			program, "-artifacts", artifacts, "-canary", canary, "-bystander", strconv.Itoa(bystander.Process.Pid),
			"-hidden", strings.Join(hidden, ","), "-cgroup", s.CgroupParent(),
		}
	}
	w := apply(t, aWorker("escapes", escaping))
	for round := 1; round <= 3; round++ {
		word := map[bool]string{true: "stays", false: "planted"}[round == 3]
		g.Eventually(func() string { return logOf(t, w) }, 2*patience).Should(ContainSubstring("round %d: %s", round, word))
		said := logOf(t, w)
		g.Expect(said).NotTo(Or(ContainSubstring("ESCAPED"), ContainSubstring("FAILED")))
		g.Expect(strings.Count(said, fmt.Sprintf("round %d: refused", round))).To(BeNumerically(">", 25), "it tried")
		g.Expect(said).To(ContainSubstring("round %d: uid 65534, tmp is empty: true", round))
	}
	g.Expect(look(t, canary)).To(Equal(before), "through restarts")

	waitFor(t, w, api.ReasonRunning)
	pid := w.Status.PID
	g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
	g.Expect(s.StartAgent()).To(Succeed())
	waitFor(t, w, api.ReasonRunning)
	g.Expect(w.Status.PID).To(Equal(pid), "the pid is the agent's own knowledge")

	remove(t, w)
	g.Expect(look(t, canary)).To(Equal(before), "through the removal")
	g.Expect(s.Path("storm", "workers", w.ID())).NotTo(BeADirectory())
	g.Expect(bystander.Process.Signal(syscall.Signal(0))).To(Succeed(), "a pid in a worker's file is nobody's")

	// What it left in its artifacts waits for the next worker there.
	again := apply(t, aWorker("escapes-again", escaping, func(spec *api.StormWorkerSpec) {
		spec.Port, spec.Command = w.Spec.Port, shell(forever)
	}))
	waitFor(t, again, api.ReasonRunning)
	yaml, err := os.ReadFile(s.Path("artifacts", again.Spec.TopologyID, strconv.Itoa(int(again.Spec.Port)), "worker.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(yaml)).To(ContainSubstring(again.ID()))
	remove(t, again)
	g.Expect(look(t, canary)).To(Equal(before))
	remove(t, neighbour)
	g.Expect(s.Leftovers()).To(BeEmpty())
}
