package runc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runtimetest"
)

const testID = runtimetest.ID

// guestDir is where guest builds the test's program, if a test needs it.
var guestDir string

// guest builds the test's program once.
var guest = sync.OnceValues(func() (string, error) { return runtimetest.BuildGuest(guestDir, runtimetest.Guest) })

func TestMain(m *testing.M) {
	if options := os.Getenv("STORMCELL_TEST_CREATE"); options != "" {
		createAndDie(options)
	}
	var err error
	if guestDir, err = os.MkdirTemp("", "stormcell-guest-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(guestDir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// box is a runtime with directories and cgroups of its own, which must be
// empty when the test ends.
type box struct {
	*Runtime
	t      testing.TB
	rootfs string
	bundle string
}

func newBox(t testing.TB) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	program, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	parent := fmt.Sprintf("/stormcell-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	b := &box{
		Runtime: New(Options{
			RunRoot: filepath.Join(base, "run"), Runc: "/usr/sbin/runc", Conmon: "/usr/bin/conmon",
			CgroupRoot: "/sys/fs/cgroup", CgroupParent: parent, LogDir: filepath.Join(base, "log"), LogBytes: 1 << 20,
		}),
		t: t, rootfs: filepath.Join(base, "rootfs"), bundle: filepath.Join(base, "run/workers", testID, "bundle"),
	}
	for _, dir := range []string{filepath.Join(b.rootfs, "bin"), filepath.Join(b.rootfs, "proc"), b.bundle} {
		b.must(os.MkdirAll(dir, 0o755))
	}
	content, err := os.ReadFile(program)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.rootfs, "bin/guest"), content, 0o755))
	t.Cleanup(b.checkNothingLeft)
	return b
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// checkNothingLeft deletes the container and then looks for what is left.
func (b *box) checkNothingLeft() {
	b.t.Helper()
	ctx := context.WithoutCancel(b.t.Context())
	for range 2 { // deleting what is not there is no error
		b.must(b.Delete(ctx, testID))
	}
	for _, dir := range []string{b.stateRoot(), b.exitDir(), filepath.Join(b.workersDir(), testID)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.t.Error(err)
		}
		for _, e := range entries {
			if e.Name() != "bundle" {
				b.t.Errorf("%s is left in %s", e.Name(), dir)
			}
		}
	}
	dirs, err := b.cgroups.Dirs("")
	b.must(err)
	for _, dir := range dirs {
		// The parent itself stays, as runc leaves it; it must be empty.
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.t.Errorf("cgroup: %v", err)
		}
	}
	if pids := processesOf(b.t, b.options.RunRoot); len(pids) != 0 {
		b.t.Errorf("processes %v are left", pids)
	}
}

// processesOf finds monitors and runtimes by their command line.
func processesOf(t testing.TB, runRoot string) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && bytes.Contains(line, []byte(runRoot)) {
			found = append(found, f+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// spec writes the bundle: the guest with these arguments.
func (b *box) spec(args []string, change func(*specs.Spec)) {
	b.t.Helper()
	s := &specs.Spec{
		Version: "1.0.0",
		Root:    &specs.Root{Path: b.rootfs, Readonly: true},
		Process: &specs.Process{Cwd: "/", Args: append([]string{"guest"}, args...), Env: []string{"PATH=/bin"}, User: specs.User{UID: 12345, GID: 12345}, NoNewPrivileges: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}, // runc makes files in it, of each container
		},
		Linux: &specs.Linux{
			CgroupsPath: b.options.CgroupParent + "/" + testID,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}},
			Resources:   &specs.LinuxResources{},
		},
	}
	if change != nil {
		change(s)
	}
	content, err := json.Marshal(s)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.bundle, "config.json"), content, 0o600))
}

// run creates and starts a container.
func (b *box) run(args ...string) runtime.State {
	b.t.Helper()
	b.spec(args, nil)
	return b.launch()
}

func (b *box) launch() runtime.State {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), testID, b.bundle, 0)
	b.must(err)
	b.must(b.Start(b.t.Context(), testID))
	return s
}

func (b *box) wait() runtime.Exit {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	exit, err := b.Wait(ctx, testID)
	b.must(err)
	if age := time.Since(exit.At); age < 0 || age > time.Minute {
		b.t.Errorf("it ended %v ago", age)
	}
	exit.At = time.Time{}
	return exit
}

func (b *box) log(attempt int) string {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(b.options.LogDir, testID, logName(attempt)))
	b.must(err)
	return string(content)
}

// waitLog waits until the guest has said text.
func (b *box) waitLog(text string, count int) {
	b.t.Helper()
	b.eventually("the log says "+text, func() bool { return strings.Count(b.log(0), text) >= count })
}

// eventually polls a condition that nothing can wait for.
func (b *box) eventually(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("did not come to pass: ", what)
		}
	}
}

// runs is false for a process that has ended, though its parent may be late to
// take notice.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
