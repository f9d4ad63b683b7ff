package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/node/profile"
	"github.com/stormcell/stormcell/internal/trust"
)

func TestProfilerScriptIsPrinted(t *testing.T) {
	var out bytes.Buffer
	c := command()
	c.SetArgs([]string{"profiler-script"})
	c.SetOut(&out)
	if err := c.ExecuteContext(t.Context()); err != nil || !bytes.Equal(out.Bytes(), profile.Script) {
		t.Errorf("%v: %s", err, &out)
	}
}

// A script that somebody else could change is never run.
func TestProfilerScript(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes files that are root's")
	}
	t.Setenv("TMPDIR", "/var/lib") // others may write to /tmp
	dir := t.TempDir()
	file := filepath.Join(dir, "profiler.sh")
	write := func(mode fs.FileMode, size int) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, bytes.Repeat([]byte("#"), size), 0o755), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := profilerScript(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	if script, err := profilerScript(""); err != nil || !bytes.Equal(script, profile.Script) {
		t.Errorf("the built-in one: %v", err)
	}
	write(0o755, 9)
	if script, err := profilerScript(file); err != nil || len(script) != 9 {
		t.Errorf("root's own: %v", err)
	}
	write(0o775, 9)
	if _, err := profilerScript(file); !errors.Is(err, trust.ErrNotTrusted) {
		t.Errorf("one that a group may write: %v", err)
	}
	write(0o755, maxScript+1)
	if _, err := profilerScript(file); err == nil {
		t.Error("a huge one is accepted")
	}
	write(0o755, 9)
	if err := os.Chown(dir, 54321, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := profilerScript(file); !errors.Is(err, trust.ErrNotTrusted) {
		t.Errorf("one in another's directory: %v", err)
	}
}
