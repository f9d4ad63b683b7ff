package main

import (
	"log/slog"
	"testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestRuntimes: every runtime of the API has a driver, by that name, which
// writes records as released agents do.
func TestRuntimes(t *testing.T) {
	first := &config.Config{Fixed: config.Fixed{DockerSocket: "/run/no/docker.sock"}}
	c := &configuration{first: first, launcher: new(config.Launcher), watcher: config.NewWatcher("", first, config.WatchOptions{})}
	drivers, err := new(options).runtimes(c, nil, docker.Rootfs{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Runtime{api.RuntimeRunc, api.RuntimeDocker}
	if len(drivers) != len(want) {
		t.Errorf("%d drivers, want %d", len(drivers), len(want))
	}
	for _, name := range want {
		if _, ok := drivers[worker.Runtime(name)]; !ok {
			t.Errorf("there is no runtime %s", name)
		}
	}
	if reason := api.RuntimeDocker.ReasonUnavailable(); reason != api.ReasonDockerUnavailable {
		t.Errorf("reason %s, want %s", reason, api.ReasonDockerUnavailable)
	}
}
