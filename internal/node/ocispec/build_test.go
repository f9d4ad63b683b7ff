package ocispec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

var update = flag.Bool("update", false, "rewrite testdata/hardened.json")

// read decodes a file of testdata and refuses members that v does not have.
func read(t *testing.T, file string, v any) {
	t.Helper()
	content, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// launchFile is what Storm's supervisor writes for worker-launcher.
type launchFile struct {
	Version             string            `json:"version"`
	Username            string            `json:"username"`
	ContainerID         string            `json:"containerId"`
	PIDFile             string            `json:"pidFile"`
	ContainerScriptPath string            `json:"containerScriptPath"`
	Layers              []json.RawMessage `json:"layers"`
	ReapLayerKeepCount  int               `json:"reapLayerKeepCount"`
	OCIRuntimeConfig    struct {
		Mounts  []specs.Mount `json:"mounts"`
		Process specs.Process `json:"process"`
		Linux   specs.Linux   `json:"linux"`
	} `json:"ociRuntimeConfig"`
}

// storm is the input of the example in Storm's OCI-support.md: what its
// supervisor knew when it wrote testdata/oci-config.json, of which
// worker-launcher made testdata/config.json. The filter is taken from the former.
func storm(t *testing.T) Input {
	t.Helper()
	var launch launchFile
	read(t, "oci-config.json", &launch)
	in := Input{
		Worker: worker.Spec{
			ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc1-2-1608581491", User: launch.Username,
			CPUMillis: 1400, MemoryBytes: 1 << 30,
		},
		Image: manifest.ImageConfig{Env: []string{
			"X_SCLS=rh-git218",
			"LD_LIBRARY_PATH=/opt/rh/httpd24/root/usr/lib64",
			"PATH=/opt/rh/rh-git218/root/usr/bin:/home/y/bin64:/home/y/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/home/y/share/yjava_jdk/java/bin",
			"PERL5LIB=/opt/rh/rh-git218/root/usr/share/perl5/vendor_perl",
			"LANG=en_US.UTF-8",
			"LANGUAGE=en_US:en",
			"LC_ALL=en_US.UTF-8",
			"JAVA_HOME=/home/y/share/yjava_jdk/java",
		}},
		Rootfs:  "/run/worker-launcher/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/rootfs",
		User:    hostuser.User{Name: launch.Username, UID: 31315, GID: 100, Groups: []int{5548}},
		Seccomp: launch.OCIRuntimeConfig.Linux.Seccomp,
		Policy: &config.Config{
			Fixed: config.Fixed{
				Node:   config.Node{LocalDir: "/home/y/var/storm", ArtifactsDir: "/home/y/var/storm/workers-artifacts"},
				Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
			},
			Worker: config.Worker{
				ReadonlyBinds: []string{"/home/y/lib64/storm", "/etc/krb5.conf"}, PidsLimit: 16384,
				NSCDDir: "/var/run/nscd", JavaLibraryPath: "/home/y/lib64:/usr/local/lib64:/usr/lib64:/lib64:",
			},
			NUMA: map[int]config.NUMAZone{0: {Cores: []int{0, 1}, Ports: []int{6700}}, 1: {Cores: []int{2, 3}, Ports: []int{6701}}},
		},
		Host: Host{
			Hostname: "hostname1", CgroupNamespaces: true, SwapAccounting: true, MaxOpenFiles: 524288, OOMScoreAdj: -999,
		},
	}
	in.Worker.Env = Env(in.Policy, in.Worker, "amd64")
	return in
}

func build(t *testing.T, in Input) *specs.Spec {
	t.Helper()
	s, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// moveTmp puts the source of /tmp where it is with us. Storm's lies in the
// worker's own directory, where the worker can put a link in its place.
func moveTmp(t *testing.T, mounts []specs.Mount) {
	t.Helper()
	last := &mounts[len(mounts)-1]
	const storms = "/home/y/var/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/tmp"
	if last.Destination != "/tmp" || last.Source != storms {
		t.Fatalf("the last mount of Storm's is %+v", last)
	}
	last.Source = "/home/y/var/storm/workers-tmp/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
}

func TestBuildEqualsStormsExample(t *testing.T) {
	var want specs.Spec
	read(t, "config.json", &want)
	moveTmp(t, want.Mounts)
	if d := cmp.Diff(&want, build(t, storm(t))); d != "" {
		t.Error("(-Storm's example +ours)\n", d)
	}
}

// TestBuildHasAllOfTheSupervisors: what the supervisor decided is in our
// config.json as it is in its own file, and the names follow from the same.
func TestBuildHasAllOfTheSupervisors(t *testing.T) {
	var launch launchFile
	read(t, "oci-config.json", &launch)
	in := storm(t)
	got := build(t, in)
	want := launch.OCIRuntimeConfig
	moveTmp(t, want.Mounts)
	for what, pair := range map[string][2]any{
		"mounts":    {want.Mounts, got.Mounts[len(kernelMounts()):]},
		"arguments": {want.Process.Args, got.Process.Args},
		"env":       {want.Process.Env, got.Process.Env},
		"directory": {want.Process.Cwd, got.Process.Cwd},
		"cgroup":    {want.Linux.CgroupsPath, got.Linux.CgroupsPath},
		"cpu":       {want.Linux.Resources.CPU, got.Linux.Resources.CPU},
		"memory":    {want.Linux.Resources.Memory, got.Linux.Resources.Memory},
		"seccomp":   {want.Linux.Seccomp, got.Linux.Seccomp},
		"container": {launch.ContainerID, in.Worker.ContainerID()},
		"script":    {launch.ContainerScriptPath, PathsOf(in.Policy.Node, in.Worker).Script},
	} {
		if d := cmp.Diff(pair[0], pair[1]); d != "" {
			t.Errorf("%s (-Storm's +ours): %s", what, d)
		}
	}
}

func TestEnv(t *testing.T) {
	in := storm(t)
	in.Policy.Worker.JavaLibraryPath = "/usr/lib"
	in.Worker.Env = []worker.EnvVar{{Name: "LD_LIBRARY_PATH", Value: "/opt/lib"}, {Name: "A", Value: "b"}}
	resources := "/home/y/var/storm/supervisor/stormdist/wc1-2-1608581491/resources"
	want := []worker.EnvVar{{Name: "LD_LIBRARY_PATH", Value: resources + "/Linux-amd64:" + resources + ":/usr/lib:/opt/lib"}, {Name: "A", Value: "b"}}
	if d := cmp.Diff(want, Env(in.Policy, in.Worker, "amd64")); d != "" {
		t.Error(d)
	}
	if in.Worker.Env[0].Value != "/opt/lib" {
		t.Error("the worker's own environment was changed")
	}
}

func TestHardenGolden(t *testing.T) {
	in := storm(t)
	got := build(t, in)
	Harden(got, in)
	if *update {
		content, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/hardened.json", append(content, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var want specs.Spec
	read(t, "hardened.json", &want)
	if d := cmp.Diff(&want, got); d != "" {
		t.Error("(-golden +ours)\n", d)
	}
}

// Each measure must change something, else its line in the table is a lie.
func TestEveryMeasureHasAnEffect(t *testing.T) {
	in := storm(t)
	for _, m := range Measures() {
		t.Run(m.Name, func(t *testing.T) {
			s := build(t, in)
			m.apply(s, in)
			if cmp.Equal(build(t, in), s) {
				t.Error("nothing changed")
			}
			if m.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestHardenWithoutCgroupNamespaces(t *testing.T) {
	in := storm(t)
	in.Host.CgroupNamespaces = false
	s := build(t, in)
	Harden(s, in)
	if !slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Source == "/sys/fs/cgroup" }) {
		t.Error("the host's cgroup tree is missing: workers could not read their metrics")
	}
}

func TestResources(t *testing.T) {
	zone := func(z int) *int { return &z }
	tests := []struct {
		name   string
		change func(*Input)
		want   string // cpu and memory as JSON
		err    error
	}{
		{"no limits", func(in *Input) { in.Worker.CPUMillis = 0 }, `{}`, nil},
		{"cpu", func(*Input) {}, `{"cpu":{"quota":140000,"period":100000}}`, nil},
		{"the least quota", func(in *Input) { in.Worker.CPUMillis = 1 }, `{"cpu":{"quota":1000,"period":100000}}`, nil},
		{"node's percent goes first", func(in *Input) { in.Policy.Worker.CPUPercent = 49.5 }, `{"cpu":{"quota":50000,"period":100000}}`, nil},
		{"memory is not enforced by default", func(in *Input) { in.Policy.Worker.MemoryMB = 5 }, `{"cpu":{"quota":140000,"period":100000}}`, nil},
		{
			"memory enforced, swap too", func(in *Input) { in.Policy.Worker.EnforceMemory, in.Worker.CPUMillis = true, 0 },
			`{"memory":{"limit":1073741824,"swap":1073741824}}`, nil,
		},
		{"no swap accounting", func(in *Input) {
			in.Policy.Worker.EnforceMemory, in.Worker.CPUMillis, in.Host.SwapAccounting = true, 0, false
		}, `{"memory":{"limit":1073741824}}`, nil},
		{"node's memory goes first", func(in *Input) {
			in.Policy.Worker.EnforceMemory, in.Policy.Worker.MemoryMB, in.Worker.CPUMillis = true, 512, 0
		}, `{"memory":{"limit":536870912,"swap":536870912}}`, nil},
		{"enforced, but the worker has no limit", func(in *Input) {
			in.Policy.Worker.EnforceMemory, in.Worker.MemoryBytes, in.Worker.CPUMillis = true, 0, 0
		}, `{}`, nil},
		{"zone with quota", func(in *Input) { in.Worker.NUMAZone = zone(1) }, `{"cpu":{"quota":140000,"period":100000,"cpus":"2,3","mems":"1"}}`, nil},
		{"zone without quota", func(in *Input) { in.Worker.NUMAZone, in.Worker.CPUMillis = zone(0), 0 }, `{"cpu":{"cpus":"0,1","mems":"0"}}`, nil},
		{"zone by port", func(in *Input) { in.Worker.Port, in.Worker.CPUMillis = 6701, 0 }, `{"cpu":{"cpus":"2,3","mems":"1"}}`, nil},
		{"unknown zone", func(in *Input) { in.Worker.NUMAZone = zone(7) }, "", ErrNoZone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := storm(t)
			tt.change(&in)
			s, err := Build(in)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			s.Linux.Resources.Devices = nil
			got, err := json.Marshal(s.Linux.Resources)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	in := storm(t)
	in.Image.Entrypoint = []string{"/usr/bin/tini", "--"}
	s := build(t, in)
	want := []string{"/usr/bin/tini", "--", "bash", "/home/y/var/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/storm-worker-script.sh"}
	if d := cmp.Diff(want, s.Process.Args); d != "" {
		t.Error(d)
	}
}

func TestOptionalMounts(t *testing.T) {
	in := storm(t)
	in.Policy.Worker.NSCDDir = ""
	in.Policy.Worker.StormHome = "/opt/storm"
	in.Policy.Worker.ReadwriteBinds = []string{"/data"}
	var got []string
	for _, m := range build(t, in).Mounts[len(kernelMounts()):] {
		got = append(got, m.Options[0]+" "+m.Destination)
	}
	w := "/home/y/var/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
	want := []string{
		"ro /home/y/lib64/storm", "ro /etc/krb5.conf", "rw /data", "ro /etc/resolv.conf", "ro /etc/hostname", "ro /etc/hosts",
		"ro /opt/storm", "ro /sys/fs/cgroup", "ro /home/y/var/storm/supervisor", "rw " + w,
		"rw /home/y/var/storm/workers-artifacts/wc1-2-1608581491/6703",
		"rw /home/y/var/storm/workers-users/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb",
		"rw /home/y/var/storm/supervisor/stormdist/wc1-2-1608581491/shared_by_topology", "rw /tmp",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
