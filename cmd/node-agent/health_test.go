package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// TestProbe goes the way of kubelet's probes, by the command's line.
func TestProbe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the launcher's configuration must be root's")
	}
	dir := rootsDir(t)
	runRoot := filepath.Join(dir, "run")
	conf := write(t, filepath.Join(dir, "storm.yaml"), stormYAML(dir, "file:///nonexistent/store")+"stormcell.run.root: "+runRoot+"\n")
	launcher := write(t, filepath.Join(dir, "launcher.cfg"), "")
	ask := func(what string) error {
		c := command()
		c.SetArgs([]string{"probe", what, "--config", conf, "--launcher-config", launcher})
		return c.ExecuteContext(t.Context())
	}
	if err := ask("alive"); err == nil || !strings.Contains(err.Error(), "no node-agent answers") {
		t.Errorf("without an agent: %v", err)
	}

	if err := os.Mkdir(runRoot, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, healthSocket(runRoot), "what an earlier agent has left")
	var ready atomic.Bool
	s := &healthServer{dir: runRoot, alive: healthz.Ping, ready: func(*http.Request) error {
		if !ready.Load() {
			return errors.New("the cluster's objects are not known yet")
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Start(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ask("alive") != nil; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(ask("alive"))
		}
	}
	if err := ask("ready"); err == nil || !strings.Contains(err.Error(), "the node-agent is not ready") {
		t.Errorf("before it is: %v", err)
	}
	ready.Store(true)
	if err := ask("ready"); err != nil {
		t.Error(err)
	}
	// As kubelet asks: by the link, and without a configuration.
	other := command()
	other.SetArgs([]string{"probe", "ready", "--probe-dir", runRoot})
	if err := other.ExecuteContext(t.Context()); err != nil {
		t.Errorf("by its directory: %v", err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if target, err := filepath.EvalSymlinks(probeProgram(runRoot)); err != nil || target != own {
		t.Errorf("the link leads to %s, %v, want %s", target, err, own)
	}
	if err := ask("well"); err == nil || !strings.Contains(err.Error(), `invalid argument "well"`) {
		t.Errorf("asked whether it is well: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(runRoot); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v, %v", left, err)
	}
}
