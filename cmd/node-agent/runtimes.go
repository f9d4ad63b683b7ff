package main

import (
	"log/slog"

	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// runtimes returns the parts of every runtime. Whether there is a Docker on this
// node, its first worker shows.
func (o *options) runtimes(
	c *configuration, images engine.Images, rootfs engine.Rootfs, log *slog.Logger,
) (map[worker.Runtime]engine.Parts, error) {
	conf := c.first
	daemon, err := docker.New(conf.DockerSocket)
	if err != nil {
		return nil, err
	}
	return map[worker.Runtime]engine.Parts{
		worker.Runc: {Images: images, Rootfs: rootfs, Runtime: runc.New(runc.Options{
			RunRoot: conf.Node.RunRoot, Runc: c.launcher.Runc, Conmon: o.conmon,
			CgroupRoot: conf.Cgroup.Root, CgroupParent: conf.Cgroup.Parent,
			LogDir: conf.Node.LogDir, LogBytes: conf.Node.LogBytes, Log: log,
		})},
		worker.Docker: {Images: &docker.Images{Daemon: daemon, Config: c.watcher.Current, Path: o.pod.Path}, Rootfs: docker.Rootfs{}, Runtime: docker.NewRuntime(daemon, docker.Options{
			RunRoot: conf.Node.RunRoot, CgroupRoot: conf.Cgroup.Root, CgroupParent: conf.Cgroup.Parent,
		})},
	}, nil
}
