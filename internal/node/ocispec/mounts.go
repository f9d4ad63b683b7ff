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

// Bind is a path of the host that a worker sees at the same place.
type Bind struct {
	Source string
	// Key is the configuration key that names Source; empty where none does.
	Key      string
	Writable bool
}

// HostBinds are the paths of the host that must be there before a worker is
// launched, in the order of their mounting.
func HostBinds(c *config.Config) []Bind {
	var binds []Bind
	for i, dir := range c.Worker.ReadonlyBinds {
		binds = append(binds, Bind{Source: dir, Key: fmt.Sprintf("storm.oci.readonly.bindmounts[%d]", i)})
	}
	for i, dir := range c.Worker.ReadwriteBinds {
		binds = append(binds, Bind{Source: dir, Key: fmt.Sprintf("storm.oci.readwrite.bindmounts[%d]", i), Writable: true})
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"} {
		binds = append(binds, Bind{Source: file})
	}
	if c.Worker.NSCDDir != "" {
		binds = append(binds, Bind{Source: c.Worker.NSCDDir, Key: "storm.oci.nscd.dir"})
	}
	if c.Worker.StormHome != "" {
		binds = append(binds, Bind{Source: c.Worker.StormHome, Key: "stormcell.storm.home"})
	}
	return append(binds, Bind{Source: c.Cgroup.Root, Key: "storm.oci.cgroup.root"})
}

// bindMounts are the parts of the host that a worker sees. Their order is
// Storm's, and matters: later ones lie inside earlier ones.
func bindMounts(in Input) []specs.Mount {
	paths := PathsOf(in.Policy.Node, in.Worker)
	var mounts []specs.Mount
	for _, b := range HostBinds(in.Policy) {
		mounts = append(mounts, bind(b.Source, b.Source, b.Writable))
	}
	return append(mounts,
		bind(paths.Supervisor, paths.Supervisor, false),
		bind(paths.Worker, paths.Worker, true),
		bind(paths.Artifacts, paths.Artifacts, true),
		bind(paths.UserFile, paths.UserFile, true),
		bind(paths.Shared, paths.Shared, true),
		bind(paths.Tmp, "/tmp", true),
	)
}

func bind(source, destination string, writable bool) specs.Mount {
	access := "ro"
	if writable {
		access = "rw"
	}
	return specs.Mount{
		Destination: destination, Type: "bind", Source: source,
		Options: []string{access, "rbind", "rprivate"},
	}
}
