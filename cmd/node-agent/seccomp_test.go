package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The printed profile is one that the agent itself takes, without a warning.
func TestSeccompProfileIsPrinted(t *testing.T) {
	var out, log bytes.Buffer
	c := command()
	c.SetArgs([]string{"seccomp-profile"})
	c.SetOut(&out)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkProfile(path, slog.New(slog.NewTextHandler(&log, nil))); err != nil || log.Len() != 0 {
		t.Errorf("%v; log: %s", err, &log)
	}
}

func TestProfileWithoutThreadsIsWarnedOf(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, []byte(`{"defaultAction":"SCMP_ACT_ERRNO"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkProfile(path, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"level=WARN", "storm.oci.seccomp.profile", "clone3", "38"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("no %q in %s", word, &log)
		}
	}
}

// lines is a log that a test waits for.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

// A configuration whose profile is bad does not come into force.
func TestReloadKeepsAwayFromABadProfile(t *testing.T) {
	dir := t.TempDir()
	good := stormYAML(dir, "file:///nonexistent/store")
	path := write(t, filepath.Join(dir, "storm.yaml"), good)
	told := make(lines, 10)
	w := configured(t, path, "", slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelError}))).watcher
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	next := write(t, filepath.Join(dir, "next.yaml"), good+"storm.oci.seccomp.profile: "+dir+"/none.json\n")
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	if line := <-told; !strings.Contains(line, "none.json") || !strings.Contains(line, "stays in use") {
		t.Error(line)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if now := w.Current().Worker.SeccompProfile; now != "" {
		t.Errorf("%s is in force", now)
	}
}
