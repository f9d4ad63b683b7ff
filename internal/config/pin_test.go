package config

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writableBelow is a storm.yaml whose workers write to dir.
func writableBelow(dir string) string {
	return least + "storm.oci.readwrite.bindmounts: [" + dir + "]\n"
}

// TestRunRootOfTheLauncher: the run root of worker-launcher.cfg counts, and is
// checked as that of storm.yaml is.
func TestRunRootOfTheLauncher(t *testing.T) {
	for _, option := range []string{"", "/run/wl"} {
		conf, _, err := Parse("storm.yaml", []byte(least), RunRoot(option))
		want := map[string]string{"": "/run/stormcell", "/run/wl": "/run/wl"}[option]
		if err != nil || conf.Node.RunRoot != want {
			t.Errorf("RunRoot(%q): %+v, %v, want %s", option, conf, err, want)
		}
	}
	for _, runRoot := range []string{"/data/run", "/data", "/opt/storm/storm-local/workers/x", "/"} {
		_, _, err := Parse("storm.yaml", []byte(writableBelow("/data")), RunRoot(runRoot))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "worker.launcher.oci.run-root: ") {
			t.Errorf("RunRoot(%q): %v, want a problem of worker.launcher.oci.run-root", runRoot, err)
		}
	}
}

// pinned is a running watcher that pins what is fixed.
type pinned struct {
	*Watcher
	path  string
	notes chan []string
	fail  chan error
}

func pin(t *testing.T, content string) *pinned {
	t.Helper()
	w := &pinned{path: filepath.Join(t.TempDir(), "storm.yaml"), notes: make(chan []string, 10), fail: make(chan error, 10)}
	write(t, w.path, content)
	read := []Option{RunRoot("/run/wl")}
	conf, _, err := Load(w.path, read...)
	if err != nil {
		t.Fatal(err)
	}
	w.Watcher = NewWatcher(w.path, conf, WatchOptions{
		Every: time.Hour, Read: read, Pin: true,
		Reloaded: func(_ *Config, notes []string) { w.notes <- notes },
		Failed:   func(err error) { w.fail <- err },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

func saysFixed(note string) bool { return strings.Contains(note, "until this program is restarted") }

// TestPin: a file that moves things is followed in all but what is fixed.
func TestPin(t *testing.T) {
	w := pin(t, least)
	first := w.Current()
	if first.Node.RunRoot != "/run/wl" {
		t.Fatalf("the run root is %s", first.Node.RunRoot)
	}
	moved := `storm.oci.image.hdfs.toplevel.dir: file:///z
stormcell.storm.home: /z
storm.local.dir: /z/local
storm.workers.artifacts.dir: /z/artifacts
storm.oci.resources.local.dir: /z/cache
storm.oci.cgroup.root: /z/cgroup
storm.oci.cgroup.parent: /z
storm.oci.layer.mounts.to.keep: 9
stormcell.docker.host: unix:///z/docker.sock
stormcell.run.root: /z/run
stormcell.log.dir: /z/log
stormcell.log.max.bytes: 99999999
stormcell.cache.max.bytes: 9
stormcell.cache.disk.high.percent: 9
stormcell.cache.disk.low.percent: 8
`
	replaceFile(t, w.path, moved+"storm.oci.readonly.bindmounts: [/etc/krb5.conf]\nstorm.cgroup.memory.enforcement.enable: true\n")
	if notes := next(t, "reload", w.notes); !slices.ContainsFunc(notes, saysFixed) {
		t.Errorf("notes %q do not say that something is fixed", notes)
	}
	now := w.Current()
	if now.Fixed != first.Fixed {
		t.Errorf("what is fixed has moved to %+v", now.Fixed)
	}
	if len(now.Worker.ReadonlyBinds) != 1 || !now.Worker.EnforceMemory || now.Worker.StormHome != "/z" {
		t.Errorf("what may change is not followed: %+v", now.Worker)
	}
	// Back again.
	replaceFile(t, w.path, least)
	if notes := next(t, "reload", w.notes); slices.ContainsFunc(notes, saysFixed) {
		t.Errorf("notes %q of a file that says what is so", notes)
	}
	// A file that only moves things changes nothing, and is noted all the same.
	replaceFile(t, w.path, least+"stormcell.log.dir: /z/log\n")
	if notes := next(t, "reload", w.notes); !slices.ContainsFunc(notes, saysFixed) {
		t.Errorf("notes %q do not say that something is fixed", notes)
	}
}

// TestPinKeepsWorkersOut: a file is refused by which workers write where
// root's directories are, though they are elsewhere by the same file.
func TestPinKeepsWorkersOut(t *testing.T) {
	w := pin(t, least)
	replaceFile(t, w.path, writableBelow("/var/log")+"stormcell.log.dir: /srv/log\n")
	err := next(t, "failure", w.fail)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "/var/log/stormcell lies in /var/log") {
		t.Errorf("%v, want the log directory of the running agent", err)
	}
	// The run root in use is worker-launcher.cfg's, whatever storm.yaml says.
	replaceFile(t, w.path, writableBelow("/run")+"stormcell.run.root: /srv/run\n")
	err = next(t, "failure", w.fail)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "worker.launcher.oci.run-root: /run/wl lies in /run") {
		t.Errorf("%v, want the run root of the running agent", err)
	}
	if len(w.Current().Worker.ReadwriteBinds) != 0 {
		t.Error("it took force")
	}
}
