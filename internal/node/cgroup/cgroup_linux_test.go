package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseHierarchies(t *testing.T) {
	const (
		rest   = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "23 22 0:20 / /sys rw - sysfs sysfs rw\n"
		tmpfs  = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
		cpu    = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		memory = "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		empty  = "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		v2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
		beside = "40 22 0:40 / /sys/fs/cgroup-of-others rw - cgroup2 cgroup2 rw\n"
	)
	old := []hierarchy{
		{"/sys/fs/cgroup/cpu,cpuacct", []string{"rw", "cpu", "cpuacct"}},
		{"/sys/fs/cgroup/memory", []string{"rw", "memory"}},
	}
	tests := []struct {
		name, root, table string
		want              []hierarchy
	}{
		{"version 2", "/sys/fs/cgroup", rest + v2, []hierarchy{{mount: "/sys/fs/cgroup"}}},
		{"version 2, by a root with a slash", "/sys/fs/cgroup/", rest + v2, []hierarchy{{mount: "/sys/fs/cgroup"}}},
		{"version 1", "/sys/fs/cgroup", rest + tmpfs + cpu + memory, old},
		{"both", "/sys/fs/cgroup", rest + tmpfs + cpu + memory + empty, append(old, hierarchy{mount: "/sys/fs/cgroup/unified"})},
		{"what only begins like the root", "/sys/fs/cgroup", rest + beside, nil},
		{"none", "/sys/fs/cgroup", rest, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHierarchies(strings.NewReader(tt.table), tt.root)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(hierarchy{})); d != "" {
				t.Error(d)
			}
		})
	}
}

const testID = "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"

// tree is a fake one with the cgroup testID in it.
func tree(t *testing.T, controllers ...string) (r *Tree, group string) {
	t.Helper()
	h := hierarchy{mount: t.TempDir(), controllers: controllers}
	r = &Tree{parent: "/storm", hierarchies: func() ([]hierarchy, error) { return []hierarchy{h}, nil }}
	group = filepath.Join(h.mount, "storm", testID)
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	return r, group
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOOMKills(t *testing.T) {
	tests := []struct {
		name          string
		controllers   []string
		file, content string
		kills         int
		ok            bool
	}{
		{"version 2, none", nil, "memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n", 0, true},
		{"version 2, some", nil, "memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n", 3, true},
		{"version 2, not its file", nil, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 0, false},
		{"version 2, before Linux 4.13", nil, "memory.events", "low 0\nhigh 0\nmax 9\noom 4\n", 0, false},
		{"version 2, no number", nil, "memory.events", "oom_kill many\n", 0, false},
		{"version 1", []string{"rw", "memory"}, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2, true},
		{"version 1, not its file", []string{"rw", "memory"}, "memory.events", "oom_kill 3\n", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, group := tree(t, tt.controllers...)
			write(t, filepath.Join(group, tt.file), tt.content)
			if kills, ok := r.Count(testID, OOMKills); kills != tt.kills || ok != tt.ok {
				t.Errorf("got %d, %v, want %d, %v", kills, ok, tt.kills, tt.ok)
			}
			if kills, ok := r.Count("gone", OOMKills); ok {
				t.Errorf("a cgroup that is not there has %d", kills)
			}
		})
	}
}

// In version 2 a process joins by one write, and no cpuset has to be filled.
func TestJoinUnified(t *testing.T) {
	r, group := tree(t)
	if err := r.Join("conmon-"+testID, 4711); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(group, "cgroup.procs"), "")
	inner := filepath.Join(group, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(inner, "cgroup.procs"), "0\n12\n34\n")
	for name, want := range map[string]map[int]bool{
		"conmon-" + testID: {4711: true}, testID: {12: true, 34: true}, "gone": {},
	} {
		got, err := r.Members(name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(name, d)
		}
	}
}

func TestRemove(t *testing.T) {
	r, group := tree(t)
	if err := os.MkdirAll(filepath.Join(group, "inner", "innermost"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // removing what is not there is no error
		if err := r.Remove(t.Context(), testID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(group)); err != nil {
		t.Errorf("its parent: %v", err)
	}
}

func TestRemoveEmptyTellsWhy(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	err := removeEmpty(t.Context(), dir)
	if pe, ok := errors.AsType[*fs.PathError](err); !ok || pe.Path != dir || !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("error = %v", err)
	}
}

// The kernel's own tree of version 2 is there on machines with version 1 too.
func TestRemoveEmptyWaitsForProcesses(t *testing.T) {
	group := unifiedGroup(t)
	cat := exec.Command("cat")
	input, err := cat.StdinPipe()
	if err == nil {
		err = cat.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(group, "cgroup.procs"), strconv.Itoa(cat.Process.Pid))
	ended, end := context.WithCancel(t.Context())
	end()
	busy := removeEmpty(ended, group)
	removed := make(chan error, 1)
	go func() { removed <- removeEmpty(t.Context(), group) }()
	if err := errors.Join(input.Close(), cat.Wait(), <-removed); err != nil {
		t.Error(err)
	}
	if !errors.Is(busy, unix.EBUSY) {
		t.Errorf("with a process in it: %v", busy)
	}
}

// unifiedGroup makes a cgroup in this machine's tree of version 2.
func unifiedGroup(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a cgroup")
	}
	all, err := findHierarchies("/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		if len(h.controllers) > 0 {
			continue
		}
		dir := filepath.Join(h.mount, fmt.Sprintf("stormcell-test-%d-%s", os.Getpid(), t.Name()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
		return dir
	}
	t.Skip("needs cgroup v2: no such tree is mounted")
	return ""
}
