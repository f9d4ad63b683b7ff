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
	want := map[api.Runtime]int{api.RuntimeRunc: 1, api.RuntimeDocker: 2}
	if len(drivers) != len(want) {
		t.Errorf("%d drivers, want %d", len(drivers), len(want))
	}
	for name, version := range want {
		d, ok := drivers[worker.Runtime(name)]
		if !ok || d.RecordVersion != version {
			t.Errorf("runtime %s: %v, record version %d, want %d", name, ok, d.RecordVersion, version)
		}
	}
	if reason := api.RuntimeDocker.ReasonUnavailable(); reason != api.ReasonDockerUnavailable {
		t.Errorf("reason %s, want %s", reason, api.ReasonDockerUnavailable)
	}
}
