package hostns

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

// aPod is a pod whose image has a program in dir.
func aPod(t *testing.T, dir, content string) *Pod {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, dir, "runc"), content, 0o755)
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &Pod{root: fd}
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
			dir := filepath.Join(t.TempDir(), "stormcell", "1")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "runc")
			before(t, path)
			if err := aPod(t, dir, good).Install(dir); err != nil {
				t.Fatal(err)
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
	below := filepath.Join(open, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{open: "users other than root can change", below: "users other than root can change", file: "not a directory"} {
		if err := aPod(t, dir, "x").Install(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}

// TestPrune: the image's own stays, and what is used.
func TestPrune(t *testing.T) {
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	for _, name := range []string{"own", "runs", "old"} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(parent, name, "runc"), string(sleep), 0o755)
	}
	write(t, filepath.Join(parent, "file"), "", 0o644)
	c := exec.Command(filepath.Join(parent, "runs", "runc"), "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Wait() }()
	defer func() { _ = c.Process.Kill() }()
	if err := Prune(filepath.Join(parent, "own")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"own": true, "runs": true, "file": true, "old": false} {
		if _, err := os.Stat(filepath.Join(parent, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Prune("/nonexistent/stormcell/own"); err != nil {
		t.Error(err)
	}
}
