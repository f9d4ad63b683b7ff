package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// configured reads a storm.yaml and a worker-launcher.cfg.
func configured(t *testing.T, stormYAML, launcher string, log *slog.Logger) *configuration {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the launcher's configuration must be root's")
	}
	o := &options{launcherConfig: write(t, filepath.Join(rootsDir(t), "launcher.cfg"), launcher)}
	o.Config = stormYAML
	c, err := o.configure(log)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOneRunRoot: a container of Docker is labelled with the run root by which
// it is looked for, also where worker-launcher.cfg has the last word on it.
func TestOneRunRoot(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "storm.yaml"), stormYAML(dir, "file:///nonexistent/store")+"stormcell.run.root: /run/yaml\n")
	c := configured(t, path, "worker.launcher.oci.run-root=/run/launcher\n", slog.New(slog.DiscardHandler))
	// It also stays when the file is read again.
	changed := c.watcher.Changes()
	write(t, path, stormYAML(dir, "file:///nonexistent/store")+"stormcell.run.root: /run/yaml\nstorm.cgroup.memory.enforcement.enable: true\n")
	go func() { _ = c.watcher.Run(t.Context()) }()
	<-changed
	if got := c.first.Node.RunRoot; got != "/run/launcher" {
		t.Errorf("containers are looked for by the run root %s", got)
	}
	_, content, err := docker.Form(ocispec.Input{
		Worker: worker.Spec{ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6700, TopologyID: "wc-1"}, Policy: c.watcher.Current(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := content.(docker.Configuration).Config.Labels["stormcell.dev/run-root"]; got != "/run/launcher" {
		t.Errorf("a container is labelled with the run root %s", got)
	}
}
