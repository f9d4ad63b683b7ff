package runc_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
)

// asksKernel runs the guest's system calls in a worker, as command says, and
// returns what each of them was answered.
func (c *cell) asksKernel(command ...string) (answers map[string]syscall.Errno, code int, said string) {
	c.t.Helper()
	c.put("guest", runc.Guest)
	c.spec.Command = append(command, "/bin/guest", "calls")
	code, said = c.run()
	answers = map[string]syscall.Errno{}
	for _, m := range regexp.MustCompile(`(?m)^(.+): (\d+)$`).FindAllStringSubmatch(said, -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			c.t.Fatal(err)
		}
		answers[m[1]] = syscall.Errno(n)
	}
	return answers, code, said
}

var (
	refusedCalls = []string{
		"mount", "umount2", "pivot_root", "unshare", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "reboot", "bpf",
		"keyctl", "userfaultfd", "open_by_handle_at", "perf_event_open", "socket of vsock", "clone into a user namespace",
		"setrlimit of core files", "setrlimit of core files, hidden", "prlimit64 of core files", "prlimit64 of core files, hidden",
	}
	absentCalls    = []string{"clone3", "io_uring_setup", "a call of the future"}
	permittedCalls = []string{
		"statx", "rseq", "membarrier", "faccessat2", "openat2", "close_range", "pidfd_open", "pidfd_send_signal", "epoll_pwait2",
		"futex_waitv", "preadv2", "pwritev2", "get_mempolicy", "set_mempolicy",
		"setrlimit of open files", "setrlimit of locks", "prlimit64 of open files", "prlimit64 of CPU time", "prlimit64 that asks for core files",
	}
)

// checkDefault compares what the kernel answered with the built-in profile.
func checkDefault(t *testing.T, answers map[string]syscall.Errno) {
	t.Helper()
	for _, name := range refusedCalls {
		if answer, ok := answers[name]; !ok || answer != syscall.EPERM {
			t.Errorf("%s: %v (%d), want EPERM", name, answer, answer)
		}
	}
	for _, name := range absentCalls {
		if answer, ok := answers[name]; !ok || answer != syscall.ENOSYS {
			t.Errorf("%s: %v (%d), want ENOSYS", name, answer, answer)
		}
	}
	for _, name := range permittedCalls {
		if answer, ok := answers[name]; !ok || answer == syscall.EPERM || answer == syscall.ENOSYS {
			t.Errorf("%s: %v (%d), want the kernel's own answer", name, answer, answer)
		}
	}
}

func TestDefaultProfileInTheKernel(t *testing.T) {
	answers, _, said := newCell(t, "", nil).asksKernel()
	if checkDefault(t, answers); t.Failed() {
		t.Log(said)
	}
}

// The kernel itself answers these otherwise, also to a worker without rights:
// what TestDefaultProfileInTheKernel sees is the filter's work.
func TestUnconfinedAsksTheKernel(t *testing.T) {
	c := newCell(t, "", func(c *cell) { c.conf.Worker.SeccompProfile = config.Unconfined })
	answers, _, said := c.asksKernel()
	for _, name := range []string{"mount", "umount2", "unshare", "setns", "ptrace", "process_vm_readv", "socket of vsock", "clone3"} {
		if answer, ok := answers[name]; !ok || answer == syscall.EPERM || answer == syscall.ENOSYS {
			t.Errorf("%s: %v (%d)", name, answer, answer)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

// addJVM gives the worker this machine's Java and a program that starts
// threads; it returns the command to run it.
func (c *cell) addJVM() []string {
	c.t.Helper()
	found, err := exec.LookPath("java")
	if err == nil {
		found, err = filepath.EvalSymlinks(found)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	home := filepath.Dir(filepath.Dir(found))
	copyPrograms(c.t, c.rootfs, found, filepath.Join(home, "lib/server/libjvm.so"))
	classes := filepath.Join(c.rootfs, "classes")
	if out, err := exec.Command("javac", "-d", classes, "testdata/Threads.java").CombinedOutput(); err != nil {
		c.t.Fatalf("javac: %v: %s", err, out)
	}
	return []string{found, "-Xmx64m", "-cp", "/classes", "Threads"}
}

// withJVM binds this machine's Java into the worker.
func withJVM(c *cell) {
	c.conf.Worker.ReadonlyBinds = []string{"/usr/lib/jvm"}
	conf, _ := filepath.Glob("/etc/java-*-openjdk") // Debian's place for what its JDK links to
	c.conf.Worker.ReadonlyBinds = append(c.conf.Worker.ReadonlyBinds, conf...)
}

// A JVM on glibc 2.34 or newer starts its threads and processes, and what it
// starts is under the filter too.
func TestJVMUnderDefaultProfile(t *testing.T) {
	c := newCell(t, "", withJVM)
	answers, code, said := c.asksKernel(c.addJVM()...)
	if code != 0 || !strings.Contains(said, "64 threads ran at once") {
		t.Fatalf("code %d: %s", code, said)
	}
	if checkDefault(t, answers); t.Failed() {
		t.Log(said)
	}
}

// The profile that Storm ships refuses clone3 with EPERM: the JVM must fail, or
// TestJVMUnderDefaultProfile shows nothing.
func TestJVMFailsUnderStormsProfile(t *testing.T) {
	content, err := os.ReadFile("../../ocispec/testdata/oci-config.json")
	if err != nil {
		t.Fatal(err)
	}
	var launch struct {
		OCIRuntimeConfig struct {
			Linux struct {
				Seccomp json.RawMessage `json:"seccomp"`
			} `json:"linux"`
		} `json:"ociRuntimeConfig"`
	}
	if err := json.Unmarshal(content, &launch); err != nil {
		t.Fatal(err)
	}
	c := newCell(t, "", func(c *cell) {
		withJVM(c)
		c.conf.Worker.SeccompProfile = filepath.Join(filepath.Dir(c.rootfs), "seccomp.json")
		profile := append([]byte("# Storm's example\n"), launch.OCIRuntimeConfig.Linux.Seccomp...)
		if err := os.MkdirAll(filepath.Dir(c.rootfs), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.conf.Worker.SeccompProfile, profile, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	_, code, said := c.asksKernel(c.addJVM()...)
	if code == 0 || !strings.Contains(said, "EPERM") || strings.Contains(said, "threads ran") {
		t.Errorf("code %d: %s", code, said)
	}
}
