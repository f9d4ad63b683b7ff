package main

import (
	"log/slog"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
)

// runtimes returns the driver of every runtime: a new one is a package, and a
// line here. Docker's is there although the node does not turn it on, to remove
// what it made before.
func (o *options) runtimes(c *configuration, images runtime.Images, rootfs runtime.Rootfs, log *slog.Logger) (runtime.Drivers, error) {
	conf := c.first
	dockerDriver, err := docker.Driver(c.watcher.Current, o.pod.Path)
	if err != nil {
		return nil, err
	}
	return runtime.Drivers{
		runc.Name: runc.Driver(runc.Options{
			RunRoot: conf.Node.RunRoot, Runc: c.launcher.Runc, Conmon: o.conmon,
			CgroupRoot: conf.Cgroup.Root, CgroupParent: conf.Cgroup.Parent,
			LogDir: conf.Node.LogDir, LogBytes: conf.Node.LogBytes, Log: log,
		}, images, rootfs),
		docker.Name: dockerDriver,
	}, nil
}
