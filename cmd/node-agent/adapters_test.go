package main

import (
	"io"
	"log/slog"
	"testing"

	"github.com/stormcell/stormcell/internal/config"
)

// TestPlacesStay: a configuration that moves things is followed in all but
// where they are, or what runs would not be found again.
func TestPlacesStay(t *testing.T) {
	first := &config.Config{
		Store:  config.Store{URL: "file:///a"},
		Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
		Node:   config.Node{LocalDir: "/a", ArtifactsDir: "/b", ResourcesDir: "/c", LogDir: "/d", CacheBytes: 1, LogBytes: 2, LayerMountsToKeep: 3, DiskHighPercent: 4, DiskLowPercent: 5},
	}
	moved := *first
	moved.Store.URL, moved.Cgroup.Parent = "file:///z", "/zzz"
	moved.Node = config.Node{LocalDir: "/z", ArtifactsDir: "/z", ResourcesDir: "/z", LogDir: "/z", CacheBytes: 9, LogBytes: 9, LayerMountsToKeep: 9, DiskHighPercent: 9, DiskLowPercent: 8}
	moved.Node.ReadonlyBinds = []string{"/etc/krb5.conf"}
	moved.Cgroup.EnforceMemory = true

	w := watch("/etc/storm/storm.yaml", &moved, slog.New(slog.NewTextHandler(io.Discard, nil)))
	w.first = first
	now := w.Current()
	if placesOf(now) != placesOf(first) {
		t.Errorf("places moved: %+v", placesOf(now))
	}
	if len(now.Node.ReadonlyBinds) != 1 || !now.Cgroup.EnforceMemory {
		t.Error("what may change is not followed")
	}
	if moved.Node.LocalDir != "/z" {
		t.Error("the watcher's own configuration was changed")
	}
}
