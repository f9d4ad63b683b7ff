package runc_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// alice is a user that the image need not know.
var alice = hostuser.User{Name: "alice", UID: 54321, GID: 54322, Groups: []int{54323}}

type account struct{}

func (account) Lookup(context.Context, string) (hostuser.User, error) { return alice, nil }

// cell is a node with one worker, from the worker's spec to the running
// process, but for the mounting of the image: its root is a directory.
type cell struct {
	t       testing.TB
	bundles *bundle.Builder
	runtime *runc.Runtime
	rootfs  string
	logs    string
	parent  string
	conf    *config.Config
	image   *manifest.LocalImage
	spec    worker.Spec
}

func (account) LookupGroup(context.Context, string) (int, error) {
	return 0, hostuser.ErrUnknownGroup
}

func newCell(t testing.TB, script string, change func(*cell)) *cell {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	t.Setenv("TMPDIR", "/var/tmp") // a worker's own /tmp would hide its directories
	base := t.TempDir()
	c := &cell{
		t: t, rootfs: filepath.Join(base, "rootfs"), logs: filepath.Join(base, "log"),
		parent: fmt.Sprintf("/stormcell-test-%d-%d", os.Getpid(), time.Now().UnixNano()),
		image:  &manifest.LocalImage{Config: manifest.ImageConfig{Env: []string{"PATH=/bin", "TWICE=image"}}},
		spec: worker.Spec{
			ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc-1", User: alice.Name,
			Command: []string{"bash", "-c", script}, Env: []worker.EnvVar{{Name: "TWICE", Value: "worker's"}},
		},
	}
	runRoot := filepath.Join(base, "run")
	c.conf = &config.Config{
		Fixed: config.Fixed{
			Node:   config.Node{LocalDir: filepath.Join(base, "storm"), ArtifactsDir: filepath.Join(base, "artifacts"), RunRoot: runRoot},
			Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: c.parent},
		},
		Worker: config.Worker{NSCDDir: "/var/run/nscd", PidsLimit: 300},
	}
	if change != nil {
		change(c)
	}
	c.bundles = bundle.New(bundle.Options{Users: account{}, Config: func() *config.Config { return c.conf }, Runtimes: runtime.Drivers{runc.Name: {Form: runc.Form}}})
	c.runtime = runc.New(runc.Options{
		RunRoot: runRoot, Runc: "/usr/sbin/runc", Conmon: "/usr/bin/conmon",
		CgroupRoot: "/sys/fs/cgroup", CgroupParent: c.parent, LogDir: c.logs, LogBytes: 1 << 20,
	})
	copyPrograms(t, c.rootfs, "/bin/bash", "/bin/cat", "/bin/mount", "/usr/bin/unshare")
	t.Cleanup(c.remove)
	return c
}

func (c *cell) remove() {
	ctx := context.WithoutCancel(c.t.Context())
	if err := errors.Join(c.runtime.Delete(ctx, c.spec.ContainerID()), c.bundles.Remove(ctx, c.spec)); err != nil {
		c.t.Error(err)
	}
	pattern := "/sys/fs/cgroup/*" + c.parent
	if unified() {
		pattern = "/sys/fs/cgroup" + c.parent
	}
	groups, err := filepath.Glob(pattern)
	if err != nil || len(groups) == 0 {
		c.t.Errorf("the cgroup's parent: %v, %v", groups, err)
	}
	for _, g := range groups {
		if err := os.Remove(g); err != nil {
			c.t.Errorf("cgroup: %v", err)
		}
	}
}

// unified is true if this machine has version 2 of cgroups, and not version 1
// with or without an empty tree of version 2 beside it.
func unified() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// copyPrograms makes a root file system of programs and their libraries.
func copyPrograms(t testing.TB, root string, programs ...string) {
	t.Helper()
	files := map[string]bool{}
	for _, p := range programs {
		files[p] = true
		out, err := exec.Command("ldd", p).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", p, err)
		}
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
			files[lib] = true
		}
	}
	for f := range files {
		content, err := os.ReadFile(f)
		target := filepath.Join(root, strings.Replace(f, "/usr/bin", "/bin", 1))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(target), 0o755))
		if err = errors.Join(err, os.WriteFile(target, content, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
}

// start prepares, creates and starts the worker.
func (c *cell) start() {
	c.t.Helper()
	ctx := c.t.Context()
	dir, err := c.bundles.Prepare(ctx, c.spec, c.image, c.rootfs)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.runtime.Create(ctx, c.spec.ContainerID(), dir, 0); err != nil {
		c.t.Fatal(err)
	}
	if err := c.runtime.Start(ctx, c.spec.ContainerID()); err != nil {
		c.t.Fatal(err)
	}
}

// run starts the worker, waits for its end and returns its code and what it said.
func (c *cell) run() (code int, said string) {
	c.t.Helper()
	c.start()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	exit, err := c.runtime.Wait(ctx, c.spec.ContainerID())
	if err != nil {
		c.t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(c.logs, c.spec.ContainerID(), "0.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(content)) { // time, stream, F or P, text
		lines = append(lines, strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)[3])
	}
	return exit.Code, strings.Join(lines, "\n")
}

// What a worker is and has, seen from inside.
func TestWorkerInside(t *testing.T) {
	c := newCell(t, `
		cat /proc/self/status
		echo "pwd=$PWD twice=$TWICE umask=$(umask) pid=$$"
		echo "cgroup=$(cat /proc/self/cgroup)"
		echo "oom=$(cat /proc/self/oom_score_adj)"
		echo "files=$(ulimit -n)"
		cat /proc/self/limits
		for f in pids/pids.max cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
			cpuset/cpuset.cpus cpuset/cpuset.mems pids.max cpu.max memory.max memory.swap.max cpuset.cpus cpuset.mems; do
			[[ ! -e /sys/fs/cgroup/$f ]] || echo "limit $f=$(cat /sys/fs/cgroup/$f)"
		done
		echo null > /dev/null && echo "null=ok"
		echo "stdout=ok" > /dev/stdout
		exit 7`,
		func(c *cell) {
			c.spec.CPUMillis, c.spec.MemoryBytes, c.conf.Worker.EnforceMemory = 1400, 256<<20, true
			c.spec.NUMAZone, c.conf.NUMA = new(0), map[int]config.NUMAZone{0: {Cores: []int{0}}}
		})
	code, said := c.run()
	if code != 7 {
		t.Errorf("exit code %d", code)
	}
	limits := []string{
		"memory:/\n", "limit pids/pids.max=300", "limit cpu/cpu.cfs_quota_us=140000",
		"limit memory/memory.limit_in_bytes=268435456", "limit memory/memory.memsw.limit_in_bytes=268435456",
		"limit cpuset/cpuset.cpus=0", "limit cpuset/cpuset.mems=0",
	}
	if unified() {
		limits = []string{
			"cgroup=0::/\n", "limit pids.max=300", "limit cpu.max=140000 100000",
			"limit memory.max=268435456", "limit memory.swap.max=0",
			"limit cpuset.cpus=0", "limit cpuset.mems=0",
		}
	}
	w := ocispec.PathsOf(c.conf.Node, c.spec).Worker
	for _, want := range append(limits,
		"Uid:\t54321\t54321\t54321\t54321", "Gid:\t54322\t54322\t54322\t54322", "Groups:\t54323",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1",
		"pwd="+w+" twice=worker's umask=0027 pid=1",
		"oom=200", "Max core file size        1                    1                    bytes", "null=ok", "stdout=ok",
	) {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what the worker says", want)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

// What a worker must not be able to do.
func TestWorkerCannotEscape(t *testing.T) {
	escapes := map[string]string{
		"write to the root":              `echo x > /planted`,
		"write to a host's file":         `echo x >> /etc/hosts`,
		"write to the host's cgroups":    `echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo 1 > /sys/fs/cgroup/memory.max`,
		"see the host's cgroups":         `[[ -e /sys/fs/cgroup/memoryPARENT || -e /sys/fs/cgroupPARENT ]]`,
		"see processes of the host":      `for p in /proc/[0-9]*; do [[ $p == /proc/1 || $p == /proc/$$ || ! -e $p/cmdline ]] || exit 0; done; false`,
		"mount":                          `mount -t tmpfs none /tmp`,
		"a user namespace with mounts":   `unshare -m true`,
		"change who owns the worker":     `echo bob > USERFILE`,
		"write to the supervisor's tree": `echo x > SUPERVISOR/planted`,
		"read the host's memory":         `cat /proc/kcore`,
		"change the kernel":              `echo 1 > /proc/sys/kernel/panic`,
		"sysrq":                          `echo h > /proc/sysrq-trigger`,
		"raise its priority for memory":  `echo -1000 > /proc/self/oom_score_adj`,
		"become root by a program":       `/tmp/suid -p -c '[[ $EUID == 0 ]]'`,
	}
	for name, attempt := range escapes {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, "", func(c *cell) {
				paths := ocispec.PathsOf(c.conf.Node, c.spec)
				attempt := strings.NewReplacer("PARENT", c.parent, "USERFILE", paths.UserFile, "SUPERVISOR", paths.Supervisor).Replace(attempt)
				c.spec.Command = []string{"bash", "-c", attempt + " && echo escaped; echo tried"}
			})
			if _, err := c.bundles.Prepare(t.Context(), c.spec, c.image, c.rootfs); err != nil {
				t.Fatal(err)
			}
			plantSUID(t, filepath.Join(ocispec.PathsOf(c.conf.Node, c.spec).Tmp, "suid"))
			_, said := c.run()
			t.Log(said)
			if strings.Contains(said, "escaped") || !strings.Contains(said, "tried") {
				t.Error("it escaped, or did not try")
			}
		})
	}
}

// plantSUID puts a set-user-ID bash where the worker can run it.
func plantSUID(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile("/bin/bash")
	if err == nil {
		err = os.WriteFile(path, content, 0o755)
	}
	if err = errors.Join(err, os.Chmod(path, 0o755|fs.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
}

func TestWorkerUnderSeccomp(t *testing.T) {
	c := newCell(t, `cat /proc/self/status; cat /proc/self/comm || echo "read refused"; unshare -m true || echo "unshare refused"`, func(c *cell) {
		path := filepath.Join(filepath.Dir(c.rootfs), "seccomp.json")
		profile := "# a comment, as in Storm's example\n" +
			`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["unshare"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}`
		if err := os.WriteFile(path, []byte(profile), 0o644); err != nil {
			t.Fatal(err)
		}
		c.conf.Worker.SeccompProfile = path
	})
	_, said := c.run()
	if !strings.Contains(said, "Seccomp:\t2") || !strings.Contains(said, "Function not implemented") {
		t.Error(said)
	}
}

func TestCommandNotInImage(t *testing.T) {
	c := newCell(t, "", func(c *cell) { c.spec.Command = []string{"no-such-program"} })
	if code, said := c.run(); code != 127 || !strings.Contains(said, "no-such-program: not found") {
		t.Errorf("code %d: %s", code, said)
	}
}

func TestImageWithoutBash(t *testing.T) {
	c := newCell(t, "", nil)
	if err := os.Remove(filepath.Join(c.rootfs, "bin/bash")); err != nil {
		t.Fatal(err)
	}
	dir, err := c.bundles.Prepare(t.Context(), c.spec, c.image, c.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.runtime.Create(t.Context(), c.spec.ContainerID(), dir, 0); !errors.Is(err, runtime.ErrCreate) || !strings.Contains(err.Error(), `no program "bash"`) {
		t.Errorf("error = %v", err)
	}
}

// A worker may hold its own directories in any state when it is started again.
func TestRestartAfterPlanting(t *testing.T) {
	c := newCell(t, `
		cd /; w=$OLDPWD
		if [[ -e $w/tmp/again ]]; then echo second; exit 0; fi
		echo > /tmp/again
		cat > $w/storm-worker-script.sh <<< "echo planted"
		echo first`, nil)
	if _, said := c.run(); said != "first" {
		t.Fatal(said)
	}
	if err := c.runtime.Delete(t.Context(), c.spec.ContainerID()); err != nil {
		t.Fatal(err)
	}
	if _, said := c.run(); said != "second" {
		t.Error(said)
	}
}

// BenchmarkPrepareCreateStart measures what a warm start costs beside the mounts.
func BenchmarkPrepareCreateStart(b *testing.B) {
	c := newCell(b, "while read -t 1000; do :; done < <(cat /dev/zero)", nil)
	for b.Loop() {
		c.start()
		b.StopTimer()
		if err := c.runtime.Delete(b.Context(), c.spec.ContainerID()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
