package preflight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThisNodeIsFit(t *testing.T) {
	warnings, err := Check(t.Context(), Options{Runc: "/usr/sbin/runc", Conmon: "/usr/bin/conmon", CgroupRoot: "/sys/fs/cgroup", NUMA: true, UID: func() int { return 0 }})
	if err != nil {
		t.Error(err)
	}
	t.Log(warnings)
}

func TestEverythingMissingIsSaidAtOnce(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/filesystems"), []byte("nodev\tsysfs\n\text4\nnodev\tsquashfs_not\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", root) // no modprobe
	_, err := Check(t.Context(), Options{
		Runc: "/no/runc", Conmon: "/no/conmon", Getent: "/no/getent", CgroupRoot: root, Root: root, UID: func() int { return 1000 },
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range []string{
		"as root", "apt-get install runc", "dnf install conmon", "/no/getent", "no squashfs", "no overlay", "loop-control",
		"cpu, memory, pids, devices are not at " + root,
	} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in:\n%v", word, err)
		}
	}
}

func TestCgroups(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		numa  bool
		want  string // what the problem says, empty for none
	}{
		{"version 2", map[string]string{"cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n"}, true, ""},
		{"version 2 without memory", map[string]string{"cgroup.controllers": "cpuset cpu io pids\n"}, false, "controllers memory are not"},
		{"version 2 beside version 1", map[string]string{"cgroup.controllers": "\n"}, false, "controllers cpu, memory, pids are not"},
		{"version 2 without zones' controller", map[string]string{"cgroup.controllers": "cpu io memory pids\n"}, true, "controllers cpuset are not"},
		{"version 1 without zones' controller", map[string]string{
			"cpu/cgroup.procs": "", "memory/cgroup.procs": "", "pids/cgroup.procs": "", "devices/cgroup.procs": "",
		}, true, "controllers cpuset are not"},
		{"version 1", map[string]string{
			"cpu/cgroup.procs": "", "memory/cgroup.procs": "", "pids/cgroup.procs": "", "devices/cgroup.procs": "", "unified/cgroup.controllers": "\n",
		}, false, ""},
		{"version 1 without devices", map[string]string{"cpu/cgroup.procs": "", "memory/cgroup.procs": "", "pids/cgroup.procs": ""}, false, "controllers devices are not"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := cgroups(root, tt.numa)
			if (tt.want == "") != (len(got) == 0) || len(got) > 0 && !strings.Contains(got[0].What, tt.want) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
	if got := cgroups(filepath.Join(t.TempDir(), "absent"), false); len(got) != 1 || !strings.Contains(got[0].What, "no cgroups at") {
		t.Errorf("without a root: %v", got)
	}
}

func TestRuncFlaws(t *testing.T) {
	const old, masked, unfiltered = "2024-21626", "2025-31133", "without seccomp"
	tests := []struct {
		version string
		want    []string
	}{
		{"runc version 1.1.5+ds1\ncommit: x", []string{old, masked}},
		{"runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+b3\nspec: 1.0.2-dev", []string{old, masked}},
		{"runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev", []string{masked}},
		{"runc version 1.1.4+ds1\ncommit: 1.1.4+ds1-1+deb12u1\nspec: 1.0.2-dev", []string{old, masked}},
		{"runc version 1.1.11", []string{old, masked}},
		{"runc version 1.1.12", []string{masked}},
		{"runc version 1.0.3", []string{old, masked}},
		{"runc version 1.2.7", []string{masked}},
		{"runc version 1.2.8", nil},
		{"runc version 1.3.0", []string{masked}},
		{"runc version 1.3.3-rc.1", []string{masked}},
		{"runc version 1.3.3", nil},
		{"runc version 1.4.0-rc.2", []string{masked}},
		{"runc version 1.4.0-rc.3", nil},
		{"runc version 1.4.0", nil},
		{"runc version 2.0.0", nil},
		{"crun version 1.8.1", []string{"not understood"}},
		{"", []string{"not understood"}},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			var got []string
			for _, p := range inspect(t, "printf '%s\\n' '"+tt.version+"' 'libseccomp: 2.5.4'", withSeccomp).problems() {
				for _, word := range []string{old, masked, unfiltered, "not understood"} {
					if strings.Contains(p.What, word) {
						got = append(got, word)
					}
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRuncWithoutSeccomp(t *testing.T) {
	const version = "printf '%s\\n' 'runc version 1.4.0' 'spec: 1.3.0'"
	for name, features := range map[string]string{
		"none":     `echo '{"ociVersionMin": "1.0.0", "linux": {}}'`,
		"disabled": `echo '{"linux": {"seccomp": {"enabled": false}}}'`,
	} {
		got := inspect(t, version, features).problems()
		if len(got) != 1 || !strings.Contains(got[0].What, "without seccomp") || !strings.Contains(got[0].Cure, "unconfined") {
			t.Errorf("%s: got %v", name, got)
		}
	}
	// Releases before 1.1 have no such command.
	got := inspect(t, version, "echo 'No help topic for features' >&2; exit 3").problems()
	if len(got) != 1 || !strings.Contains(got[0].What, "exit status 3: No help topic") || !strings.Contains(got[0].Cure, "1.1 or newer") {
		t.Errorf("without features: got %v", got)
	}
}

// What is not runc is named by its path, since go-runc drops what it prints.
func TestNoRunc(t *testing.T) {
	r := inspect(t, "echo crun version 1.8.1", withSeccomp)
	got := r.problems()
	if len(got) != 1 || !strings.Contains(got[0].What, "runc at "+r.path+" is not understood") {
		t.Errorf("got %v", got)
	}
}

const withSeccomp = `echo '{"linux": {"seccomp": {"enabled": true}}}'`

// inspect has a script in the place of runc.
func inspect(t *testing.T, version, features string) installed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runc")
	script := "#!/bin/sh\ncase $1 in\n--version) " + version + ";;\nfeatures) " + features + ";;\n*) exit 1;;\nesac\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := inspectRunc(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
