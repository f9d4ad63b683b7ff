package main

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// driversOf returns the drivers of a node with this configuration.
func driversOf(t *testing.T, fixed config.Fixed) runtime.Drivers {
	t.Helper()
	first := &config.Config{Fixed: fixed}
	c := &configuration{first: first, launcher: new(config.Launcher), watcher: config.NewWatcher("", first, config.WatchOptions{})}
	drivers, err := new(options).runtimes(c, nil, docker.Rootfs{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return drivers
}

// TestDockerIsOff: unless the configuration turns it on, no worker starts in Docker, and
// the agent does not report it. Its driver is there, to remove what it made before.
func TestDockerIsOff(t *testing.T) {
	drivers := driversOf(t, config.Fixed{DockerSocket: "/run/no/docker.sock"})
	if d, ok := drivers[docker.Name]; !ok || !errors.Is(d.Off, runtime.ErrOff) || !strings.Contains(d.Off.Error(), "stormcell.docker.enable") {
		t.Errorf("driver %v, off: %v", ok, d.Off)
	}
	presence := runtime.NewPresence(drivers, func() {})
	presence.Look(t.Context())
	if got := presence.Names(); !slices.Equal(got, []worker.Runtime{worker.Runc}) {
		t.Errorf("present: %v", got)
	}
}

// TestDockerThatDoesNotAnswer is on, and not reported.
func TestDockerThatDoesNotAnswer(t *testing.T) {
	presence := runtime.NewPresence(driversOf(t, config.Fixed{DockerSocket: "/run/no/docker.sock", DockerEnabled: true}), func() {})
	presence.Look(t.Context())
	if got := presence.Names(); !slices.Equal(got, []worker.Runtime{worker.Runc}) {
		t.Errorf("present: %v", got)
	}
}

// TestRuntimes: every runtime of the API has a driver, by that name.
func TestRuntimes(t *testing.T) {
	drivers := driversOf(t, config.Fixed{DockerSocket: "/run/no/docker.sock", DockerEnabled: true})
	want := []api.Runtime{api.RuntimeRunc, api.RuntimeDocker}
	if len(drivers) != len(want) {
		t.Errorf("%d drivers, want %d", len(drivers), len(want))
	}
	for _, name := range want {
		d, ok := drivers[worker.Runtime(name)]
		if !ok || d.Off != nil {
			t.Errorf("runtime %s: %v, off: %v", name, ok, d.Off)
		}
	}
	if reason := api.RuntimeDocker.ReasonUnavailable(); reason != api.ReasonDockerUnavailable {
		t.Errorf("reason %s, want %s", reason, api.ReasonDockerUnavailable)
	}
}
