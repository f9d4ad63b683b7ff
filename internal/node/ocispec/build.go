// Package ocispec composes the OCI runtime specification of a worker's
// container. Build gives what Storm's worker-launcher gives, field by field;
// Harden then takes away what a worker does not need. Both are pure.
package ocispec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// version is the oldest version of the specification that has all we use.
const version = "1.0.0"

// Input is all that a container's specification is made of.
type Input struct {
	// Worker has the environment that Env composes.
	Worker worker.Spec
	Image  manifest.ImageConfig
	// Rootfs is the mounted root file system.
	Rootfs string
	User   hostuser.User
	// Seccomp is the system call filter; nil is none.
	Seccomp *specs.LinuxSeccomp
	// Policy is the node's configuration.
	Policy *config.Config
	Host   Host
}

// Host is what the node's kernel and system say of themselves.
type Host struct {
	Hostname string
	// CgroupNamespaces is true if the kernel has them (Linux 4.6).
	CgroupNamespaces bool
	// SwapAccounting is true if the kernel limits swap per cgroup.
	SwapAccounting bool
	// MaxOpenFiles is the highest RLIMIT_NOFILE that the agent may give.
	MaxOpenFiles uint64
	// OOMScoreAdj is the agent's own; only a privileged agent may give less.
	OOMScoreAdj int
}

// Build returns the specification that Storm's supervisor and worker-launcher
// make together. It fails for a NUMA zone that the node does not have.
func Build(in Input) (*specs.Spec, error) {
	resources, err := Resources(in)
	if err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version:  version,
		Hostname: in.Host.Hostname,
		Root:     &specs.Root{Path: in.Rootfs, Readonly: true},
		Process:  process(in),
		Mounts:   append(kernelMounts(), bindMounts(in)...),
		Linux: &specs.Linux{
			CgroupsPath: CgroupPath(in.Policy.Cgroup.Parent, in.Worker.ContainerID()),
			Resources:   resources,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
			},
			MaskedPaths: []string{
				"/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
				"/proc/sched_debug", "/proc/scsi", "/sys/firmware",
			},
			ReadonlyPaths: []string{
				"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
			},
			Seccomp: in.Seccomp,
		},
	}, nil
}

// CgroupPath is the cgroup of container id, the same in every hierarchy.
func CgroupPath(parent, id string) string { return path.Join("/", parent, id) }

// Env is the worker's environment without the image's: its own, and for native
// code LD_LIBRARY_PATH as Storm's supervisor sets it, with what the worker asks
// for at the end. arch is the machine's kind as Java names it.
func Env(c *config.Config, w worker.Spec, arch string) []worker.EnvVar {
	const name = "LD_LIBRARY_PATH"
	resources := PathsOf(c.Node, w).Resources
	dirs := []string{path.Join(resources, "Linux-"+arch), resources, c.Worker.JavaLibraryPath}
	env := slices.Clone(w.Env)
	i := slices.IndexFunc(env, func(v worker.EnvVar) bool { return v.Name == name })
	if i < 0 {
		return append(env, worker.EnvVar{Name: name, Value: strings.Join(dirs, ":")})
	}
	env[i].Value = strings.Join(append(dirs, env[i].Value), ":")
	return env
}

// process is the container's first process: the image's entrypoint, then bash
// with the worker's script. A variable that image and worker both set stands
// there twice, as in Storm; the runtime lets the last one win.
func process(in Input) *specs.Process {
	paths := PathsOf(in.Policy.Node, in.Worker)
	p := &specs.Process{
		Cwd:             paths.Worker,
		NoNewPrivileges: true,
		User:            specs.User{UID: uint32(in.User.UID), GID: uint32(in.User.GID)}, //nolint:gosec // ids are 32 bits, as hostuser reads them
	}
	p.Args = append(p.Args, in.Image.Entrypoint...)
	p.Args = append(p.Args, "bash", paths.Script)
	p.Env = append(p.Env, in.Image.Env...)
	for _, v := range in.Worker.Env {
		p.Env = append(p.Env, v.Name+"="+v.Value)
	}
	for _, g := range in.User.Groups {
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(g)) //nolint:gosec // as above
	}
	return p
}
