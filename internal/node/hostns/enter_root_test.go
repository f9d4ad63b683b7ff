package hostns_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/hostns"
)

// Where the test's program is what it does in its pod.
const (
	inPod   = "STORMCELL_TEST_POD"   // the pod's root directory
	outside = "STORMCELL_TEST_OUTER" // a file of the machine
)

func TestMain(m *testing.M) {
	if root := os.Getenv(inPod); root != "" {
		if err := program(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// report is what a program sees that has left its pod.
type report struct {
	PID                       int
	Machine, Config, Flipped  string
	Namespaces, Capabilities  string
	Command, Inherited, Error string
}

// program is a program in a pod: in a name space of mounts with a root of its own.
func program(root string) error {
	if _, left := os.LookupEnv("STORMCELL_POD"); !left {
		if err := makePod(root); err != nil {
			return fmt.Errorf("make the pod: %w", err)
		}
	}
	p, err := hostns.Leave()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(look(p))
}

// makePod makes root the root, as a container runtime does.
func makePod(root string) error {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{root, root, "", unix.MS_BIND},
		{root + "/volume", root + "/etc/storm", "", unix.MS_BIND},
		{"proc", root + "/proc", "proc", 0},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/old", unix.MNT_DETACH)
}

func look(p *hostns.Pod) (r report) {
	read := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			r.Error += err.Error() + "\n"
		}
		return string(content)
	}
	r.PID = os.Getpid()
	r.Machine = read(os.Getenv(outside))
	r.Config = read(p.Path("/etc/storm/storm.yaml"))
	// As kubelet does it when the ConfigMap has changed.
	if err := os.Rename(p.Path("/etc/storm/..data_tmp"), p.Path("/etc/storm/..data")); err != nil {
		r.Error += err.Error() + "\n"
	}
	r.Flipped = read(p.Path("/etc/storm/storm.yaml"))
	r.Namespaces = namespaces("self")
	for line := range strings.Lines(read("/proc/self/status")) {
		if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "CapBnd") || strings.HasPrefix(line, "CapInh") {
			r.Capabilities += line
		}
	}
	r.Command = read("/proc/self/comm")
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		r.Error += err.Error() + "\n"
	}
	r.Inherited = string(out) + strings.Join(os.Environ(), "\n")
	return r
}

// namespaces names those of a process that a program in a pod enters.
func namespaces(process string) string {
	var all []string
	for _, name := range []string{"mnt", "uts", "ipc", "cgroup"} {
		link, err := os.Readlink(filepath.Join("/proc", process, "ns", name))
		if err != nil {
			link = err.Error()
		}
		all = append(all, link)
	}
	return strings.Join(all, " ")
}

// podRoot is the root directory of a pod with a ConfigMap's volume, as kubelet
// lays it out.
func podRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"proc", "old", "etc/storm", "volume/..1", "volume/..2"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{
		"volume/..1/storm.yaml": "first", "volume/..2/storm.yaml": "second",
	} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"..data": "..1", "..data_tmp": "..2", "storm.yaml": "..data/storm.yaml"} {
		if err := os.Symlink(target, filepath.Join(root, "volume", link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func start(t *testing.T, root string, flags uintptr) (*exec.Cmd, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: enters name spaces")
	}
	file := filepath.Join(t.TempDir(), "machine")
	if err := os.WriteFile(file, []byte("the machine's"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), inPod+"="+root, outside+"="+file)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	c.Stderr = new(strings.Builder)
	c.Stdout = new(strings.Builder)
	return c, c.Run()
}

const asPod = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

func TestLeave(t *testing.T) {
	c, err := start(t, podRoot(t), asPod)
	if err != nil {
		t.Fatalf("%v: %s", err, c.Stderr)
	}
	var r report
	if err := json.Unmarshal([]byte(fmt.Sprint(c.Stdout)), &r); err != nil {
		t.Fatalf("%v: %s", err, c.Stdout)
	}
	for _, check := range []struct{ what, got, want string }{
		{"errors", r.Error, ""},
		{"pid", strconv.Itoa(r.PID), strconv.Itoa(c.Process.Pid)},
		{"a file of the machine", r.Machine, "the machine's"},
		{"the pod's configuration", r.Config, "first"},
		{"the pod's configuration, changed", r.Flipped, "second"},
		{"name spaces", r.Namespaces, namespaces("self")},
		{"command", r.Command, "exe\n"},
		{"capabilities", r.Capabilities, fmt.Sprintf("CapInh:\t%016x\nCapEff:\t%016[2]x\nCapBnd:\t%016[2]x\n", 0, needed&bounding(t))},
	} {
		if check.got != check.want {
			t.Errorf("%s: %q, want %q", check.what, check.got, check.want)
		}
	}
	for _, secret := range []string{"mnt:[", "STORMCELL_POD=", "-> / "} {
		if strings.Contains(r.Inherited, secret) {
			t.Errorf("what it starts has %q:\n%s", secret, r.Inherited)
		}
	}
}

// needed are the capabilities that stay, by their bits: 0 to 8, 12, 18, 19, 21, 24 and 27.
const needed = 0x092c11ff

// bounding are those that a program can have here.
func bounding(t *testing.T) (bits uint64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "CapBnd:")
	if _, err := fmt.Sscanf(after, "%x", &bits); err != nil {
		t.Fatal(err)
	}
	return bits
}

// TestLeaveSaysWhatThePodLacks: each by the field of its spec.
func TestLeaveSaysWhatThePodLacks(t *testing.T) {
	for name, c := range map[string]struct {
		flags uintptr
		want  string
	}{
		"processes of its own": {asPod | unix.CLONE_NEWPID, "hostPID: true"},
	} {
		t.Run(name, func(t *testing.T) {
			run, err := start(t, podRoot(t), c.flags)
			if err == nil || !strings.Contains(fmt.Sprint(run.Stderr), c.want) {
				t.Errorf("%v: %s, want %q", err, run.Stderr, c.want)
			}
		})
	}
	t.Run("no pod", func(t *testing.T) {
		if _, err := hostns.Leave(); err == nil || !strings.Contains(err.Error(), "omit --enter-host") {
			t.Errorf("got %v", err)
		}
	})
}
