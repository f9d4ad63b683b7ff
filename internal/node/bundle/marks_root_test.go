package bundle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// afterReboot empties the run root and returns what the next agent finds.
func (n *node) afterReboot(known ...worker.Spec) []string {
	n.t.Helper()
	must(n.t, os.RemoveAll(n.conf.Node.RunRoot))
	return n.recover(known...)
}

func (n *node) recover(known ...worker.Spec) []string {
	n.t.Helper()
	left, err := n.Recover(n.t.Context(), known)
	must(n.t, err)
	return left
}

// files is the tree without directories that no worker has of its own, and
// without the one in the run root, which its record keeps.
func (n *node) files() map[string]string {
	n.t.Helper()
	found := n.tree()
	delete(found, "/run/workers/"+spec.ContainerID())
	for path, line := range found {
		if line == "40755 0:0" || line == "40700 0:0" && !strings.Contains(path, spec.ID) {
			delete(found, path)
		}
	}
	return found
}

var artifactsOnly = map[string]string{
	"/logs/workers-artifacts/wc-1/6703":                                                     "42770 54321:54322",
	"/logs/workers-artifacts/wc-1/6703/worker.yaml":                                         "100660 54321:54322",
	"/logs/workers-artifacts/wc-1/6703/runc-6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb.yaml": "100660 54321:54322",
}

func TestSweepAfterReboot(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	stranger := filepath.Join(filepath.Dir(n.paths.Worker), "9e5c1b3e-0000-4000-8000-000000000000")
	must(t, os.MkdirAll(filepath.Join(stranger, "tmp"), 0o755)) // of Storm's own supervisor
	file, check := precious(t)
	must(t, os.Symlink(filepath.Dir(file), filepath.Join(n.paths.Worker, "link")))

	unfinished := filepath.Join(filepath.Dir(n.paths.UserFile), tempName(spec.ID))
	must(t, os.WriteFile(unfinished, nil, 0o600)) // the agent died there

	if d := cmp.Diff([]string{spec.ContainerID()}, n.afterReboot()); d != "" {
		t.Fatal(d)
	}
	for range 2 { // the second time nothing is there
		must(t, n.Sweep(t.Context(), spec.ContainerID()))
	}
	check()
	if _, err := os.Stat(stranger); err != nil {
		t.Error("the directory of another's worker is gone")
	}
	must(t, os.RemoveAll(stranger))
	if d := cmp.Diff(artifactsOnly, n.files()); d != "" {
		t.Error(d)
	}
	if left := n.recover(); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestSweepLeavesTheLiving: what has a record is not swept, and gets the mark
// that it has lost.
func TestSweepLeavesTheLiving(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	before := n.tree()
	must(t, os.RemoveAll(filepath.Join(n.conf.Node.LocalDir, marksPath[0])))
	if left := n.recover(spec); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if d := cmp.Diff(before, n.tree()); d != "" {
		t.Error(d)
	}
	// One that is not marked is not ours to delete.
	must(t, os.RemoveAll(filepath.Join(n.conf.Node.LocalDir, marksPath[0])))
	must(t, n.Sweep(t.Context(), spec.ContainerID()))
	if _, err := os.Stat(n.paths.Worker); err != nil {
		t.Error(err)
	}
}

// TestMarkOfAnotherRunRoot: after a change of stormcell.run.root, the workers
// of the old one may live.
func TestMarkOfAnotherRunRoot(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	old := n.conf.Node.RunRoot
	n.conf.Node.RunRoot = filepath.Join(n.base, "new")
	if left := n.recover(); len(left) != 0 {
		t.Errorf("workers of another run root are taken for dead: %v", left)
	}
	must(t, os.RemoveAll(old))
	if left := n.recover(); len(left) != 1 {
		t.Errorf("left %v, want the worker whose run root is gone", left)
	}
}

// TestMarkThatWasNotSynced: of a machine that went down, names are left.
func TestMarkThatWasNotSynced(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	mark := filepath.Join(n.conf.Node.LocalDir, "stormcell/topologies/wc-1", spec.ContainerID())
	must(t, os.Truncate(mark, 0))
	if left := n.afterReboot(); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestPlantedMarks(t *testing.T) {
	n := newNode(t, nil)
	outside := t.TempDir()
	must(t, os.MkdirAll(n.conf.Node.LocalDir, 0o755))
	must(t, os.Symlink(outside, filepath.Join(n.conf.Node.LocalDir, marksPath[0])))
	n.mustPrepare()
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("written through a link: %v, %v", entries, err)
	}
	for _, name := range []string{"..", "a/../b"} {
		if err := n.Sweep(t.Context(), name); err == nil {
			t.Errorf("%q is swept", name)
		}
	}
	must(t, os.WriteFile(filepath.Join(n.conf.Node.LocalDir, "stormcell/topologies/wc-1/nonsense"), nil, 0o600))
	if left := n.recover(spec); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestSweepAfterKills kills a real process that prepares and removes a worker
// all the time, at random moments: a sweep leaves nothing but artifacts.
func TestSweepAfterKills(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	must(t, n.Remove(t.Context(), spec))
	hits := 0
	for range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRestlessAgent$")
		cmd.Env = append(os.Environ(), "RESTLESS_BASE="+n.base)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := out.Read(make([]byte, 1)); err != nil { // it has begun
			t.Errorf("child: %v", err)
		}
		<-time.After(time.Duration(rand.IntN(20_000)) * time.Microsecond) // the moment of the kill is the test's input
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Error("child ended by itself")
		}
		if len(n.files()) > len(artifactsOnly) {
			hits++
		}
		for _, id := range n.recover() {
			must(t, n.Sweep(t.Context(), id))
		}
		if d := cmp.Diff(artifactsOnly, withoutTemporary(n.files())); d != "" {
			t.Fatal(d)
		}
	}
	if hits == 0 {
		t.Error("no kill left anything: the test shows nothing")
	}
	t.Logf("%d of 40 kills left something behind, all was swept", hits)
}

// withoutTemporary leaves out what is half-written in the artifacts, which
// stay; the next Prepare replaces it.
func withoutTemporary(files map[string]string) map[string]string {
	for path := range files {
		if strings.HasPrefix(path, "/logs/workers-artifacts/wc-1/6703/.") {
			delete(files, path)
		}
	}
	return files
}

// TestRestlessAgent is the process that TestSweepAfterKills kills.
func TestRestlessAgent(t *testing.T) {
	base := os.Getenv("RESTLESS_BASE")
	if base == "" {
		return // not a test by itself
	}
	b := New(Options{Users: account{alice}, Config: func() *config.Config { return testConfig(base) }, Runtimes: runtimes})
	fmt.Println("begun")
	for {
		if _, err := b.Prepare(t.Context(), spec, emptyImage, "/rootfs"); err != nil {
			t.Fatal(err)
		}
		if err := b.Remove(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
}

// testConfig is that of a node whose places are all below base.
func testConfig(base string) *config.Config {
	return &config.Config{
		Fixed: config.Fixed{
			Node: config.Node{
				LocalDir: filepath.Join(base, "storm"), ArtifactsDir: filepath.Join(base, "logs/workers-artifacts"), RunRoot: filepath.Join(base, "run"),
			},
			Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
		},
		Worker: config.Worker{NSCDDir: defaultNSCDDir, JavaLibraryPath: "/usr/lib"},
	}
}
