package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAccountFilesOfAnImage: the runtime opens them as root, so a launch is refused where
// they are anything but files of the image.
func TestAccountFilesOfAnImage(t *testing.T) {
	link := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	file := func(size int64) func(string) error {
		return func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, size))
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a fifo outside of /tmp")
	}
	t.Setenv("TMPDIR", "/var/tmp")
	outside := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(outside, 0o644))
	for _, tt := range []struct {
		name    string
		make    func(path string) error
		refused string
	}{
		{"missing", func(string) error { return nil }, ""},
		{"a file", file(100), ""},
		{"a link in the image", link("../nix/passwd"), ""},
		{"an absolute link in the image", link("/nix/passwd"), ""},
		{"a link to nothing", link("/nowhere/passwd"), ""},
		{"links out of the image end in it", link("../../../../../nix/passwd"), ""},
		{"a fifo of the host is none of the image", link(outside), ""},
		{"too large", file(maxAccounts + 1), "more than"},
		{"a fifo", func(path string) error { return unix.Mkfifo(path, 0o644) }, "is no regular file"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o755) }, "is no regular file"},
		{"a link to a fifo", link("/nix/fifo"), "is no regular file"},
		{"what the worker can change", link("/tmp/passwd"), "below /tmp, which is not of the image"},
		{"by two links", link("/nix/link"), "below /tmp"},
		{"by a link above", link("/linked/passwd"), "cannot be looked at"},
		{"a file of /proc", link("/proc/1/environ"), "below /proc"},
		{"a loop", link("passwd"), "more than 8 links"},
	} {
		for _, f := range accountFiles {
			t.Run(tt.name+" at "+f, func(t *testing.T) {
				root := t.TempDir()
				for _, dir := range []string{"etc", "nix", "tmp"} {
					must(t, os.Mkdir(filepath.Join(root, dir), 0o755))
				}
				must(t, os.WriteFile(filepath.Join(root, "nix/passwd"), nil, 0o644))
				must(t, unix.Mkfifo(filepath.Join(root, "nix/fifo"), 0o644))
				must(t, os.Symlink("/tmp/passwd", filepath.Join(root, "nix/link")))
				must(t, os.Symlink("/tmp", filepath.Join(root, "linked")))
				path := filepath.Join(root, f)
				if tt.name == "a loop" {
					tt.make = link(f)
				}
				must(t, tt.make(path))
				err := checkAccounts(root, []string{"/proc", "/dev", "/sys", "/tmp"})
				if tt.refused == "" && err != nil || tt.refused != "" && (!errors.Is(err, ErrBadImage) || !strings.Contains(err.Error(), f+" ") || !strings.Contains(err.Error(), tt.refused)) {
					t.Errorf("%v, want %q", err, tt.refused)
				}
			})
		}
	}
}

// TestPrepareLooksAtTheImage: before anything of the worker is made.
func TestPrepareLooksAtTheImage(t *testing.T) {
	n := newNode(t, nil)
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	must(t, os.Symlink(n.paths.Artifacts+"/passwd", filepath.Join(root, "etc/passwd")))
	if _, err := n.Prepare(t.Context(), spec, emptyImage, root); !errors.Is(err, ErrBadImage) {
		t.Errorf("%v, want ErrBadImage", err)
	}
	if left := n.tree(); left["/local/workers"] != "" {
		t.Errorf("made %v", left)
	}
}
