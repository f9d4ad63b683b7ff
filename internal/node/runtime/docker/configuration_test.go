package docker

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

var update = flag.Bool("update", false, "rewrite testdata/container.json")

// storm is the input of the example in Storm's Docker-support.md, with names in
// the place of its <placeholders>: testdata/docker-run.txt has its command line.
func storm() ocispec.Input {
	return ocispec.Input{
		Worker: worker.Spec{
			Namespace: "default", Name: "word-count-6703",
			ID: "8198e1f0-f323-4b9d-8625-e4fd640cd058", Port: 6703, TopologyID: "word-count-1-1591895933", User: "alice",
			Runtime: Name, Image: manifest.Image{Tag: "xxx.xxx.com:8080/storm/storm/rhel7:latest"}, CPUMillis: 2600, MemoryBytes: 2 << 30,
		},
		User:    hostuser.User{Name: "alice", UID: 31315, GID: 100},
		Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno},
		Policy: &config.Config{
			Fixed: config.Fixed{
				Node: config.Node{
					LocalDir: "/storm-local-dir", ArtifactsDir: "/workers-artifacts-dir/workers-artifacts",
					LogBytes: 64 << 20, RunRoot: "/run/stormcell",
				},
				Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
			},
			Worker: config.Worker{
				ReadonlyBinds: []string{"/etc/storm"}, NSCDDir: "/var/run/nscd", StormHome: "/usr/share/apache-storm-2.3.0",
				SeccompProfile: "/usr/share/apache-storm-2.3.0/conf/seccomp.json", PidsLimit: 16384,
			},
			NUMA: map[int]config.NUMAZone{1: {Cores: []int{2, 3}}},
		},
		Host: ocispec.Host{CgroupNamespaces: true, SwapAccounting: true, MaxOpenFiles: 524288, OOMScoreAdj: -999},
	}
}

// commandLine is "docker run" for a configuration, in the order of Storm's
// words. What it cannot say, it makes an error of.
func commandLine(t *testing.T, c Configuration, in ocispec.Input) []string {
	t.Helper()
	words := []string{"run", "--name=" + c.Name, "--user=" + c.Config.User, "-d", "--net=" + string(c.Host.NetworkMode)}
	if c.Host.ReadonlyRootfs {
		words = append(words, "--read-only")
	}
	for _, m := range c.Host.Mounts {
		volume := m.Source + ":" + m.Target
		if m.ReadOnly {
			volume += ":ro"
		}
		words = append(words, "-v "+volume)
	}
	h := c.Host
	if h.CpusetCpus != "" {
		words = append(words, "--cpuset-cpus="+h.CpusetCpus, "--cpuset-mems="+h.CpusetMems)
	}
	words = append(words, "--cgroup-parent="+h.CgroupParent)
	for _, g := range h.GroupAdd {
		words = append(words, "--group-add "+g)
	}
	words = append(words, "--workdir="+c.Config.WorkingDir, "--cidfile="+h.ContainerIDFile)
	for _, capability := range h.CapDrop {
		words = append(words, "--cap-drop="+capability)
	}
	filter, err := json.Marshal(in.Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range h.SecurityOpt {
		// The client sends what is in the file.
		words = append(words, "--security-opt "+strings.Replace(o, string(filter), in.Policy.Worker.SeccompProfile, 1))
	}
	if h.NanoCPUs > 0 {
		words = append(words, "--cpus="+strconv.FormatFloat(float64(h.NanoCPUs)/1e9, 'f', -1, 64))
	}
	if h.Memory > 0 {
		words = append(words, fmt.Sprintf("--memory=%dm", h.Memory>>20))
	}
	checkSaid(t, c)
	return append(append(words, c.Config.Image), c.Config.Cmd...)
}

// checkSaid checks that a configuration has nothing that commandLine passes over.
func checkSaid(t *testing.T, c Configuration) {
	t.Helper()
	rest := c
	rest.Name = ""
	rest.Config.User, rest.Config.WorkingDir, rest.Config.Image, rest.Config.Cmd = "", "", "", nil
	rest.Host.NetworkMode, rest.Host.ReadonlyRootfs, rest.Host.Mounts, rest.Host.GroupAdd = "", false, nil, nil
	rest.Host.ContainerIDFile, rest.Host.CapDrop, rest.Host.SecurityOpt = "", nil, nil
	rest.Host.CgroupParent, rest.Host.CpusetCpus, rest.Host.CpusetMems, rest.Host.NanoCPUs, rest.Host.Memory = "", "", "", 0, 0
	if d := cmp.Diff(Configuration{}, rest, cmpopts.EquateComparable()); d != "" {
		t.Error("not in the command line: ", d)
	}
}

// lines reads the words of testdata/docker-run.txt, one option a line. In two
// of them the list of mounts, which is that of every runtime, is tighter: a
// worker that asks the name service need not write to its directory, and /tmp
// does not lie where the worker could put a link in its place.
func lines(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("testdata/docker-run.txt")
	if err != nil {
		t.Fatal(err)
	}
	const nscd = "-v /var/run/nscd:/var/run/nscd"
	storms := strings.Split(strings.TrimSpace(string(content)), "\n")
	i := slices.Index(storms, nscd)
	if i < 0 {
		t.Fatalf("testdata/docker-run.txt has no %q", nscd)
	}
	storms[i] += ":ro"
	const tmp = "-v /storm-local-dir/workers/8198e1f0-f323-4b9d-8625-e4fd640cd058/tmp:/tmp"
	if i = slices.Index(storms, tmp); i < 0 {
		t.Fatalf("testdata/docker-run.txt has no %q", tmp)
	}
	storms[i] = "-v /storm-local-dir/workers-tmp/8198e1f0-f323-4b9d-8625-e4fd640cd058:/tmp"
	return storms
}

// unordered returns the words with the volumes sorted. Their order has no
// meaning: dockerd sorts them by their targets before it mounts them.
func unordered(words []string) []string {
	isVolume := func(w string) bool { return strings.HasPrefix(w, "-v ") }
	first := slices.IndexFunc(words, isVolume)
	n := slices.IndexFunc(words[first:], func(w string) bool { return !isVolume(w) })
	words = slices.Clone(words)
	slices.Sort(words[first : first+n])
	return words
}

func built(t *testing.T, in ocispec.Input) []string {
	t.Helper()
	c, err := build(in)
	if err != nil {
		t.Fatal(err)
	}
	return commandLine(t, c, in)
}

func TestBuildEqualsStormsExample(t *testing.T) {
	if d := cmp.Diff(unordered(lines(t)), unordered(built(t, storm()))); d != "" {
		t.Error("(-Storm's example +ours)\n", d)
	}
}

func TestBuild(t *testing.T) {
	example := lines(t)
	replaced := func(old string, words ...string) []string {
		var all []string
		for _, w := range example {
			if w == old {
				all = append(all, words...)
			} else {
				all = append(all, w)
			}
		}
		return all
	}
	for _, tt := range []struct {
		name   string
		change func(*ocispec.Input)
		want   []string
	}{
		{
			"memory, which Storm could not set", func(in *ocispec.Input) { in.Policy.Worker.EnforceMemory = true },
			replaced("--cpus=2.6", "--cpus=2.6", "--memory=2048m"),
		},
		{
			"a NUMA zone", func(in *ocispec.Input) { in.Worker.NUMAZone = new(1) },
			replaced("--cgroup-parent=/storm", "--cpuset-cpus=2,3", "--cpuset-mems=1", "--cgroup-parent=/storm"),
		},
		{
			"more groups", func(in *ocispec.Input) { in.User.Groups = []int{5548} },
			replaced("--group-add 100", "--group-add 100", "--group-add 5548"),
		},
		{
			"writable directories", func(in *ocispec.Input) { in.Policy.Worker.ReadwriteBinds = []string{"/data"} },
			replaced("-v /etc/storm:/etc/storm:ro", "-v /etc/storm:/etc/storm:ro", "-v /data:/data"),
		},
		{
			"the built-in filter, and not Docker's own", func(in *ocispec.Input) { in.Policy.Worker.SeccompProfile = "" },
			replaced("--security-opt seccomp=/usr/share/apache-storm-2.3.0/conf/seccomp.json", "--security-opt seccomp="),
		},
		{
			"no filter", func(in *ocispec.Input) { in.Policy.Worker.SeccompProfile = config.Unconfined },
			replaced("--security-opt seccomp=/usr/share/apache-storm-2.3.0/conf/seccomp.json", "--security-opt seccomp=unconfined"),
		},
		{"no limits", func(in *ocispec.Input) { in.Worker.CPUMillis = 0 }, replaced("--cpus=2.6")},
		{"a limit for every worker", func(in *ocispec.Input) { in.Policy.Worker.CPUPercent = 50 }, replaced("--cpus=2.6", "--cpus=0.5")},
		{"no Storm, no nscd", func(in *ocispec.Input) { in.Policy.Worker.StormHome, in.Policy.Worker.NSCDDir = "", "" }, without(example,
			"-v /usr/share/apache-storm-2.3.0:/usr/share/apache-storm-2.3.0:ro", "-v /var/run/nscd:/var/run/nscd:ro")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := storm()
			tt.change(&in)
			if d := cmp.Diff(unordered(tt.want), unordered(built(t, in))); d != "" {
				t.Error("(-want +got)\n", d)
			}
		})
	}
}

func without(words []string, gone ...string) []string {
	var rest []string
	for _, w := range words {
		if w != gone[0] && w != gone[len(gone)-1] {
			rest = append(rest, w)
		}
	}
	return rest
}

func TestUnknownZone(t *testing.T) {
	in := storm()
	in.Worker.NUMAZone = new(7)
	if _, _, err := Form(in); !errors.Is(err, ocispec.ErrNoZone) {
		t.Errorf("error = %v", err)
	}
}

// TestMeasures: what Configure sends beyond Storm's words, in testdata/container.json,
// and that each measure has a part in it.
func TestMeasures(t *testing.T) {
	in := storm()
	in.Policy.Worker.EnforceMemory = true
	c, err := Configure(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/container.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/container.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error("(-testdata/container.json +ours)\n", d)
	}
	var back Configuration // as Create reads it
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, back, cmpopts.EquateEmpty(), cmpopts.EquateComparable()); d != "" {
		t.Error("written and read it is another\n", d)
	}
	for _, m := range measures {
		storms, err := build(in)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := json.Marshal(storms)
		m.apply(&storms, in)
		if after, _ := json.Marshal(storms); string(before) == string(after) || m.reason == "" {
			t.Errorf("measure %s does nothing", m.name)
		}
	}
}

// TestMeasuresThatTheNodeLacks: without namespaces of cgroups, the host's tree
// is what a worker's metrics are read from, as in Storm.
func TestMeasuresThatTheNodeLacks(t *testing.T) {
	in := storm()
	in.Host.CgroupNamespaces, in.Host.SwapAccounting = false, false
	c, err := Configure(in)
	if err != nil {
		t.Fatal(err)
	}
	host := slices.IndexFunc(c.Host.Mounts, func(m mount.Mount) bool { return m.Source == "/sys/fs/cgroup" })
	if c.Host.CgroupnsMode != "" || host < 0 || !c.Host.Mounts[host].ReadOnly {
		t.Errorf("cgroups: %q, %+v", c.Host.CgroupnsMode, c.Host.Mounts)
	}
	if c.Host.MemorySwap != 0 {
		t.Errorf("limit of memory and swap %d", c.Host.MemorySwap)
	}
}

func TestExitOf(t *testing.T) {
	for name, tt := range map[string]struct {
		state        container.State
		code, signal int
	}{
		"by itself":   {container.State{ExitCode: 7}, 7, 0},
		"by a signal": {container.State{ExitCode: 137}, 137, 9},
		"lost":        {container.State{ExitCode: 255}, 255, 0},
	} {
		tt.state.FinishedAt = "2026-11-26T12:00:00.123456789Z"
		if e := exitOf(&tt.state); e.Code != tt.code || e.Signal != tt.signal || e.At.Second() != 0 || e.At.IsZero() {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
