package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

var alice = hostuser.User{Name: "alice", UID: 54321, GID: 54322, Groups: []int{54323}}

type account struct{}

func (account) Lookup(context.Context, string) (hostuser.User, error) { return alice, nil }

func (account) LookupGroup(context.Context, string) (int, error) {
	return 0, hostuser.ErrUnknownGroup
}

// rig is a worker that runs under runc as on a node, in a root made of this
// machine's /usr, which has a JDK.
type rig struct {
	*testing.T
	target Target
	tree   *cgroup.Tree
	log    string
	kill   func()
}

const workerID = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"

func newRig(t *testing.T, command ...string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	t.Setenv("TMPDIR", "/var/tmp") // a worker's own /tmp would hide its directories
	base := t.TempDir()
	parent := fmt.Sprintf("/stormcell-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	r := &rig{T: t, tree: cgroup.New("/sys/fs/cgroup", parent)}
	rootfs := r.rootfs(base)
	spec := worker.Spec{ID: workerID, Port: 6703, TopologyID: "wc-1", User: alice.Name, Command: command}
	r.target = Target{ID: spec.ContainerID(), Artifacts: filepath.Join(base, "artifacts", spec.TopologyID, "6703")}
	conf := &config.Config{
		Fixed: config.Fixed{
			Node: config.Node{
				LocalDir: filepath.Join(base, "storm"), ArtifactsDir: filepath.Join(base, "artifacts"), RunRoot: filepath.Join(base, "run"),
			},
			Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: parent},
		},
		Worker: config.Worker{
			PidsLimit: 300, NSCDDir: "/var/run/nscd", ReadonlyBinds: append([]string{"/usr"}, glob(t, "/etc/java-*-openjdk")...),
		},
	}
	bundles := bundle.New(bundle.Options{Users: account{}, Config: func() *config.Config { return conf }, Runtimes: runtime.Drivers{runc.Name: {Form: runc.Form}}})
	logs := filepath.Join(base, "log")
	containers := runc.New(runc.Options{
		RunRoot: filepath.Join(base, "run"), Runc: "/usr/sbin/runc", Conmon: "/usr/bin/conmon",
		CgroupRoot: "/sys/fs/cgroup", CgroupParent: parent, LogDir: logs, LogBytes: 1 << 20,
	})
	r.target.Exec = func(ctx context.Context, p runtime.Program) (int, error) { return containers.Exec(ctx, r.target.ID, p) }
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		r.must(errors.Join(containers.Delete(ctx, r.target.ID), bundles.Remove(ctx, spec)))
		r.must(r.tree.Remove(ctx, ""))
	})
	image := &manifest.LocalImage{Config: manifest.ImageConfig{Env: []string{"PATH=" + javaHome(t) + "/bin:/usr/bin:/bin", "SECRET=x"}}}
	dir, err := bundles.Prepare(t.Context(), spec, image, rootfs)
	r.must(err)
	_, err = containers.Create(t.Context(), r.target.ID, dir, 0)
	r.must(err)
	r.must(containers.Start(t.Context(), r.target.ID))
	r.target.Container, err = containers.Inspect(t.Context(), r.target.ID)
	r.must(err)
	r.eventually("the worker has its own program", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.target.Container.Init.PID))
		return err == nil && !bytes.HasPrefix(name, []byte("runc"))
	})
	r.log = filepath.Join(logs, r.target.ID)
	r.kill = func() {
		r.must(containers.Signal(context.WithoutCancel(t.Context()), r.target.ID, syscall.SIGKILL, true))
	}
	return r
}

// javaHome is where this machine's JDK is.
func javaHome(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("jcmd")
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(program))
}

func (r *rig) rootfs(base string) string {
	rootfs := filepath.Join(base, "rootfs")
	r.must(os.MkdirAll(rootfs, 0o755))
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		r.must(os.Symlink("usr/"+dir, filepath.Join(rootfs, dir)))
	}
	source, err := os.ReadFile("testdata/Sleeper.java")
	r.must(err)
	r.must(os.WriteFile(filepath.Join(rootfs, "Sleeper.java"), source, 0o644))
	return rootfs
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// profiler has a script of the test's, or the built-in one for "".
func (r *rig) profiler(script string, timeout time.Duration) *Profiler {
	text := Script
	if script != "" {
		text = []byte("#!/bin/bash\n" + script)
	}
	return New(Options{
		Cgroups: r.tree,
		Script:  func() ([]byte, error) { return text, nil },
		Timeout: func() time.Duration { return timeout },
	})
}

// says waits until the worker has written text to its log.
func (r *rig) says(text string) {
	r.Helper()
	r.eventually("the worker says "+text, func() bool {
		for _, file := range glob(r.T, r.log+"/*") {
			if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(text)) {
				return true
			}
		}
		return false
	})
}

func (r *rig) eventually(what string, so func() bool) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("it is not so that %s", what)
		}
	}
}

// nothingLeft checks that neither processes nor cgroups of scripts are there.
func (r *rig) nothingLeft() {
	r.Helper()
	groups, err := r.tree.Groups(groupPrefix)
	if err != nil || len(groups) > 0 {
		r.Errorf("cgroups %v are left, %v", groups, err)
	}
}

var sleeper = []string{"java", "-Xmx64m", "/Sleeper.java"}

// TestRealJVM does all that Storm's buttons do to a Java process.
func TestRealJVM(t *testing.T) {
	r := newRig(t, sleeper...)
	r.says("asleep")
	p := r.profiler("", 5*time.Minute)
	run := func(verb Verb, name string) string {
		t.Helper()
		result, err := p.Run(t.Context(), r.target, verb)
		if err != nil {
			t.Fatalf("%s: %v: %s", verb, err, result.Output)
		}
		if name == "" && len(result.Files) == 0 {
			return ""
		}
		if len(result.Files) != 1 || !regexp.MustCompile("^"+name+"$").MatchString(filepath.Base(result.Files[0])) {
			t.Fatalf("%s: files %v; %s", verb, result.Files, result.Output)
		}
		var st unix.Stat_t
		r.must(unix.Stat(result.Files[0], &st))
		if st.Uid != uint32(alice.UID) || st.Mode&0o040 == 0 || st.Mode&0o007 != 0 {
			t.Errorf("%s belongs to %d and has mode %o", result.Files[0], st.Uid, st.Mode)
		}
		return result.Files[0]
	}
	stacks, err := os.ReadFile(run(JStack, `jstack-1-\d{14}\.txt`))
	r.must(err)
	if !bytes.Contains(stacks, []byte("Full thread dump")) || !bytes.Contains(stacks, []byte("sleeper-of-the-test")) {
		t.Errorf("the dump of threads is %.2000s", stacks)
	}
	heap, err := os.ReadFile(run(JMap, `recording-1-\d{14}\.bin`))
	r.must(err)
	if !bytes.HasPrefix(heap, []byte("JAVA PROFILE 1.0.2")) {
		t.Errorf("the heap dump begins with %q", heap[:20])
	}
	run(Start, "")
	summary(t, run(Dump, `recording-1-\d{14}-\d{14}\.jfr`))
	// It may be in the same second.
	summary(t, run(Stop, `recording-1-\d{14}-\d{14}(-1)?\.jfr`))
	if result, err := p.Run(t.Context(), r.target, Dump); !errors.Is(err, ErrScript) || !strings.Contains(result.Output, "no flight recording runs") {
		t.Errorf("a dump after the end: %v: %s", err, result.Output)
	}
	r.nothingLeft()
}

// summary has the JDK read a flight recording.
func summary(t *testing.T, file string) {
	t.Helper()
	out, err := exec.Command("jfr", "summary", file).CombinedOutput()
	if err != nil || !regexp.MustCompile(`jdk\.JVMInformation +[1-9]`).Match(out) {
		t.Errorf("jfr summary: %v: %s", err, out)
	}
}

// Storm's worker is the child of its LogWriter: it says itself which pid it has.
func TestPIDOfTheWorker(t *testing.T) {
	r := newRig(t, "bash", "-c", "cd $0; java -Xmx64m /Sleeper.java & echo $! > worker.pid; wait", "artifacts")
	r.says("asleep")
	result, err := r.profiler("", 5*time.Minute).Run(t.Context(), r.target, JStack)
	if err != nil {
		t.Fatal(err, result.Output)
	}
	if name := filepath.Base(result.Files[0]); strings.HasPrefix(name, "jstack-1-") {
		t.Errorf("%s is of the first process", name)
	}
}

func TestNoJVM(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	result, err := r.profiler("", 5*time.Minute).Run(t.Context(), r.target, JStack)
	if !errors.Is(err, ErrScript) || !strings.Contains(result.Output, "process 1 of the container is no JVM: sleep 1000") || len(result.Files) > 0 {
		t.Errorf("%v, %+v", err, result)
	}
	r.nothingLeft()
}

// TestScriptIsConfined: as the worker, without a way to more, in its own cgroup.
func TestScriptIsConfined(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	result, err := r.profiler(`
		echo "$(id -u):$(id -g) $(grep -E '^(NoNewPrivs|CapEff|NSpid):' /proc/self/status | tr -s '\t\n' ' ')"
		echo "env: $(env | cut -d= -f1 | sort | tr '\n' ' ')"
		grep -o 'profile-.*' /proc/self/cgroup | sort -u
		cat /proc/1/comm; pwd; echo "args $*"; cat`, time.Minute).Run(t.Context(), r.target, Start)
	if err != nil {
		t.Fatal(err, result.Output)
	}
	for _, want := range []string{
		"54321:54322 ", "NoNewPrivs: 1", "CapEff: 0000000000000000", "profile-" + r.target.ID, "sleep", "\n/\n", "args 1 start", "env: PATH PWD SHLVL _ \n",
	} {
		if !strings.Contains(result.Output, want) {
			t.Errorf("it says nothing of %q:\n%s", want, result.Output)
		}
	}
}

// What a script has started ends with it, and all of it ends when its time is over.
func TestHangingScript(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	result, err := r.profiler("echo begun; setsid sleep 1001 >/dev/null 2>&1 & exec sleep 1002", time.Second).Run(t.Context(), r.target, JStack)
	if !errors.Is(err, ErrTimeout) || result.Output != "begun" {
		t.Errorf("%v, %+v", err, result)
	}
	r.nothingLeft()
	if result, err = r.profiler("setsid sleep 1001 & echo left it", time.Minute).Run(t.Context(), r.target, Start); err != nil && !errors.Is(err, ErrScript) {
		t.Errorf("%v, %+v", err, result)
	}
	r.nothingLeft()
	members, err := r.tree.Members(r.target.Container.Cgroup)
	r.must(err)
	if !members[r.target.Container.Init.PID] {
		t.Error("the worker itself has ended")
	}
}

func TestTalkativeScript(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	result, err := r.profiler("head -c 1G /dev/zero; echo; echo the end; exit 7", 5*time.Minute).Run(t.Context(), r.target, Start)
	if !errors.Is(err, ErrScript) || !strings.Contains(err.Error(), "exit status 7") || result.Output != "the end" {
		t.Errorf("%v, %d bytes: %.100q", err, len(result.Output), result.Output)
	}
}

func TestScriptThatWritesNothing(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	if _, err := r.profiler("exit 0", time.Minute).Run(t.Context(), r.target, JStack); !errors.Is(err, ErrScript) || !strings.Contains(err.Error(), "wrote nothing") {
		t.Error(err)
	}
}

// A worker may name any number of its own, but nothing else.
func TestForgedPIDFile(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	p := r.profiler(`echo "pid $1"`, time.Minute)
	file := filepath.Join(r.target.Artifacts, pidFile)
	secret := filepath.Join(t.TempDir(), "secret")
	r.must(os.WriteFile(secret, []byte("4711"), 0o600))
	for name, forge := range map[string]func() error{
		"a command": func() error { return os.WriteFile(file, []byte("1;id"), 0o644) },
		"two lines": func() error { return os.WriteFile(file, []byte("1\n2\n"), 0o644) },
		"an option": func() error { return os.WriteFile(file, []byte("-1"), 0o644) },
		"endless":   func() error { return os.WriteFile(file, bytes.Repeat([]byte("1"), 1<<20), 0o644) },
		"a link":    func() error { return os.Symlink(secret, file) },
		"a pipe":    func() error { return unix.Mkfifo(file, 0o666) },
		"a device":  func() error { return unix.Mknod(file, unix.S_IFCHR|0o666, 1<<8|5) },
	} {
		r.must(forge())
		if result, err := p.Run(t.Context(), r.target, Start); err != nil || result.Output != "pid 1" {
			t.Errorf("%s: %v, %q", name, err, result.Output)
		}
		r.must(os.Remove(file))
	}
}

// A pid that is another process's by now is never entered.
func TestOtherProcesses(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	p := r.profiler("echo entered", time.Minute)
	stale := r.target
	stale.Container.Init.Start--
	if result, err := p.Run(t.Context(), stale, Start); !errors.Is(err, ErrGone) || result.Output != "" {
		t.Errorf("a stale pid: %v, %q", err, result.Output)
	}
	self, err := process.Identify(os.Getpid())
	r.must(err)
	foreign := r.target
	foreign.Container.Init = self
	if result, err := p.Run(t.Context(), foreign, Start); !errors.Is(err, ErrForeign) || result.Output != "" {
		t.Errorf("a process of the host: %v, %q", err, result.Output)
	}
}

func TestWorkerEndsMeanwhile(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	done := make(chan error, 1)
	go func() {
		_, err := r.profiler("touch "+r.target.Artifacts+"/begun; exec sleep 1001", 5*time.Minute).Run(t.Context(), r.target, Start)
		done <- err
	}()
	r.eventually("the script runs", func() bool {
		_, err := os.Stat(filepath.Join(r.target.Artifacts, "begun"))
		return err == nil
	})
	r.kill()
	if err := <-done; !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	r.nothingLeft()
}

// TestRecover ends a script whose agent was killed.
func TestRecover(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	left := exec.Command("sleep", "1001")
	r.must(left.Start())
	r.must(r.tree.Join(group(r.target.ID), left.Process.Pid))
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	p := r.profiler("", time.Minute)
	r.must(p.Recover(t.Context()))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Error(err)
	}
	r.nothingLeft()
	r.must(p.Recover(t.Context()))
}

func TestMissingArtifacts(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	r.target.Artifacts += "-gone"
	if _, err := r.profiler("", time.Minute).Run(t.Context(), r.target, Start); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
