package ocispec

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// maxOpenFiles is a worker's limit on open files, if the node permits it.
	maxOpenFiles = 1 << 20
	// oomScoreAdj makes the kernel choose workers before the node's daemons.
	oomScoreAdj = 200
	// NoCore is the limit on a worker's core files, in bytes: less than any has. The
	// kernel pipes a core to the host's handler, which is root, whatever the limit is,
	// also with 0. Only 1 keeps it from that: it is the mark of the handler itself.
	NoCore = 1
)

// Measure is one way in which a worker's container is tighter than Storm's.
type Measure struct {
	Name, Reason string
	apply        func(*specs.Spec, Input)
}

// Measures are all of them, in the order of their application.
func Measures() []Measure {
	return []Measure{
		{"capabilities", "an explicit empty list, so that no runtime's default can add one", noCapabilities},
		{"rlimits", "limits do not depend on how the agent was started, and a crash leaves no core file, nor starts the host's handler of cores", limitProcess},
		{"pids", "a fork bomb ends at the worker's own limit, not at the node's", limitPids},
		{"oom-score", "when the node runs out of memory, a worker is killed before the daemons that watch it", scoreOOM},
		{"bind-flags", "set-user-ID programs and device nodes do not work on directories that users write to", flagBinds},
		{"proc-flags", "nothing in /proc is a program or device", flagProc},
		{"user-file", "the file that says who owns a worker is not the worker's to change", lockUserFile},
		{"masked-paths", "what describes the host's hardware, keys and other tenants is hidden", maskMore},
		{"cgroup-namespace", "a worker sees its own cgroup only, not the host's tree; its metrics read the same files", hideCgroups},
	}
}

// Harden applies all measures to a specification that Build made of in.
func Harden(s *specs.Spec, in Input) {
	for _, m := range Measures() {
		m.apply(s, in)
	}
}

func noCapabilities(s *specs.Spec, _ Input) {
	s.Process.Capabilities = &specs.LinuxCapabilities{}
}

func limitProcess(s *specs.Spec, in Input) {
	files := OpenFiles(in.Host)
	s.Process.Rlimits = []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE", Soft: NoCore, Hard: NoCore},
		{Type: "RLIMIT_NOFILE", Soft: files, Hard: files},
	}
}

func limitPids(s *specs.Spec, in Input) {
	limit := in.Policy.Worker.PidsLimit
	s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
}

func scoreOOM(s *specs.Spec, in Input) {
	score := OOMScoreAdj(in.Host)
	s.Process.OOMScoreAdj = &score
}

func flagBinds(s *specs.Spec, _ Input) {
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Type == "bind" {
			m.Options = append(m.Options, "nosuid", "nodev")
		}
	}
}

func flagProc(s *specs.Spec, _ Input) {
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Type == "proc" {
			m.Options = append(m.Options, "nosuid", "noexec", "nodev")
		}
	}
}

func lockUserFile(s *specs.Spec, in Input) {
	file := PathsOf(in.Policy.Node, in.Worker).UserFile
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Source == file {
			m.Options[slices.Index(m.Options, "rw")] = "ro"
		}
	}
}

// OpenFiles is a worker's limit on open files.
func OpenFiles(h Host) uint64 { return min(maxOpenFiles, h.MaxOpenFiles) }

// OOMScoreAdj is how much sooner than others the kernel chooses a worker when
// the node's memory runs out.
func OOMScoreAdj(h Host) int { return max(oomScoreAdj, h.OOMScoreAdj) }

// maskMore adds what Docker masks beyond Storm's list.
func maskMore(s *specs.Spec, _ Input) {
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths,
		"/proc/acpi", "/proc/interrupts", "/proc/keys", "/sys/devices/virtual/powercap")
}

// hideCgroups gives the worker a cgroup namespace, and at the place of the
// host's tree a mount of the cgroup file system as that namespace sees it.
func hideCgroups(s *specs.Spec, in Input) {
	if !in.Host.CgroupNamespaces {
		return
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	own := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	host := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool {
		return m.Type == "bind" && m.Source == in.Policy.Cgroup.Root
	})
	if own < 0 || host < 0 {
		return
	}
	s.Mounts[own].Destination = s.Mounts[host].Destination
	s.Mounts = slices.Delete(s.Mounts, host, host+1)
}
