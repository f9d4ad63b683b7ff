package main

import (
	"log/slog"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// runtimes returns the parts of every runtime. Whether there is a Docker on this
// node, its first worker shows.
func (o *options) runtimes(
	conf *config.Config, launcher *config.Launcher, images engine.Images, rootfs engine.Rootfs, w *watcher, log *slog.Logger,
) (map[worker.Runtime]engine.Parts, error) {
	daemon, err := docker.New(conf.Docker.Socket)
	if err != nil {
		return nil, err
	}
	settings := func() config.Docker {
		s := w.Current().Docker
		s.ConfigFile = o.pod.Path(s.ConfigFile)
		return s
	}
	return map[worker.Runtime]engine.Parts{
		worker.Runc: {Images: images, Rootfs: rootfs, Runtime: runc.New(runc.Options{
			RunRoot: conf.Node.RunRoot, Runc: launcher.Runc, Conmon: o.conmon,
			CgroupRoot: conf.Cgroup.Root, CgroupParent: conf.Cgroup.Parent,
			LogDir: conf.Node.LogDir, LogBytes: conf.Node.LogBytes, Log: log,
		})},
		worker.Docker: {Images: &docker.Images{Daemon: daemon, Settings: settings}, Rootfs: docker.Rootfs{}, Runtime: docker.NewRuntime(daemon, docker.Options{
			RunRoot: conf.Node.RunRoot, CgroupRoot: conf.Cgroup.Root, CgroupParent: conf.Cgroup.Parent,
		})},
	}, nil
}
