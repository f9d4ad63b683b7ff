package ocispec

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
)

// kernelMounts are the file systems of the kernel's own that every worker has.
func kernelMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// Bind is a path of the host that a worker sees.
type Bind struct {
	// Source is the path on the host, Target that in the container.
	Source, Target string
	// Key is the configuration key that names Source; empty where none does.
	Key      string
	Writable bool
	// Network marks the files with the names of the host and of its name servers. A runtime with its own way to provide them leaves these out.
	Network bool
}

// HostBinds are the paths of the host that must be there before a worker is
// launched, in the order of their mounting. Each is at the same place in the
// container.
func HostBinds(c *config.Config) []Bind {
	var binds []Bind
	for i, dir := range c.Worker.ReadonlyBinds {
		binds = append(binds, Bind{Source: dir, Key: fmt.Sprintf("storm.oci.readonly.bindmounts[%d]", i)})
	}
	for i, dir := range c.Worker.ReadwriteBinds {
		binds = append(binds, Bind{Source: dir, Key: fmt.Sprintf("storm.oci.readwrite.bindmounts[%d]", i), Writable: true})
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"} {
		binds = append(binds, Bind{Source: file, Network: true})
	}
	if c.Worker.NSCDDir != "" {
		binds = append(binds, Bind{Source: c.Worker.NSCDDir, Key: "storm.oci.nscd.dir"})
	}
	if c.Worker.StormHome != "" {
		binds = append(binds, Bind{Source: c.Worker.StormHome, Key: "stormcell.storm.home"})
	}
	binds = append(binds, Bind{Source: c.Cgroup.Root, Key: "storm.oci.cgroup.root"})
	for i := range binds {
		binds[i].Target = binds[i].Source
	}
	return binds
}

// Binds are the parts of the host that a worker sees in whatever runtime.
// Their order is that of Storm's worker-launcher, and matters: later ones lie
// inside earlier ones.
func Binds(in Input) []Bind {
	paths := PathsOf(in.Policy.Node, in.Worker)
	return append(HostBinds(in.Policy),
		Bind{Source: paths.Supervisor, Target: paths.Supervisor},
		Bind{Source: paths.Worker, Target: paths.Worker, Writable: true},
		Bind{Source: paths.Artifacts, Target: paths.Artifacts, Writable: true},
		Bind{Source: paths.UserFile, Target: paths.UserFile, Writable: true},
		Bind{Source: paths.Shared, Target: paths.Shared, Writable: true},
		Bind{Source: paths.Tmp, Target: "/tmp", Writable: true},
	)
}

// bindMounts are Binds in the words of the OCI runtime specification.
func bindMounts(in Input) []specs.Mount {
	var mounts []specs.Mount
	for _, b := range Binds(in) {
		access := "ro"
		if b.Writable {
			access = "rw"
		}
		mounts = append(mounts, specs.Mount{
			Destination: b.Target, Type: "bind", Source: b.Source,
			Options: []string{access, "rbind", "rprivate"},
		})
	}
	return mounts
}
