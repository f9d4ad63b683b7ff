package pod_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/pod"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// install installs a program of that content as runc.
func install(t *testing.T, dir, content string) (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "runc")
	write(t, program, content, 0o755)
	var none *pod.Pod
	return none.Install(program, dir)
}

func TestInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: programs are root's")
	}
	const good = "#!/bin/sh\necho good\n"
	for name, before := range map[string]func(t *testing.T, path string){
		"nothing is there":          func(*testing.T, string) {},
		"it is there":               func(t *testing.T, path string) { write(t, path, good, 0o755) },
		"another content":           func(t *testing.T, path string) { write(t, path, "#!/bin/sh\necho bad\n", 0o755) },
		"half of it":                func(t *testing.T, path string) { write(t, path+".new", good[:5], 0o700) },
		"others may write to it":    func(t *testing.T, path string) { write(t, path, good, 0o777) },
		"somebody else's":           func(t *testing.T, path string) { write(t, path, good, 0o755); chown(t, path) },
		"a link to somewhere else":  func(t *testing.T, path string) { link(t, path) },
		"a link for the part of it": func(t *testing.T, path string) { link(t, path+".new") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "stormcell")
			first, err := install(t, dir, good)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(first); err != nil {
				t.Fatal(err)
			}
			before(t, first)
			path, err := install(t, dir, good)
			if err != nil || path != first {
				t.Fatalf("%s, %v, want %s", path, err, first)
			}
			if out, err := exec.Command(path).CombinedOutput(); err != nil || string(out) != "good\n" {
				t.Errorf("it prints %q, %v", out, err)
			}
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != 0o755 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

func chown(t *testing.T, path string) {
	t.Helper()
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
}

// link makes a link to a file that must not be written to.
func link(t *testing.T, path string) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "precious")
	write(t, target, "precious", 0o644)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if content, err := os.ReadFile(target); err != nil || string(content) != "precious" {
			t.Errorf("the link's target is %q, %v", content, err)
		}
	})
}

func TestInstallRefuses(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "", 0o644)
	for dir, want := range map[string]string{
		open:                       "others than root can change",
		file:                       "--install-dir",
		filepath.Join(file, "dir"): "--install-dir",
	} {
		if _, err := install(t, dir, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}

// TestPrune: what is used stays, and what is not ours.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	runs, err := install(t, dir, string(sleep))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := install(t, dir, "kept")
	if err != nil {
		t.Fatal(err)
	}
	old, err := install(t, dir, "old")
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "runc-local")
	write(t, foreign, "", 0o755)
	c := exec.Command(runs, "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Wait() }()
	defer func() { _ = c.Process.Kill() }()
	if err := pod.Prune(dir, kept); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{runs: true, kept: true, foreign: true, old: false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := pod.Prune(filepath.Join(dir, "absent")); err != nil {
		t.Error(err)
	}
}
