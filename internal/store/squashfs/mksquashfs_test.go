package squashfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/squashfs"
)

func TestFind(t *testing.T) {
	m, err := squashfs.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Path == "" || !strings.HasPrefix(m.Version, "4.") {
		t.Errorf("found %+v", m)
	}
}

func TestFindRefuses(t *testing.T) {
	for name, script := range map[string]string{
		"an old version": "echo 'mksquashfs version 4.4 (2019/08/29)'",
		"no version":     "echo hello; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "mksquashfs"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":/bin")
			_, err := squashfs.Find(t.Context())
			if !errors.Is(err, squashfs.ErrNoProgram) || !strings.Contains(err.Error(), "squashfs-tools") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// build makes a file system of empty files, each owned by uid, and of a
// symbolic link to link unless that is empty.
func build(t *testing.T, m *squashfs.Mksquashfs, files, uid int, link string, root squashfs.Root) (*os.File, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out.sqsh"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	b, err := m.Start(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(archive(t, files, uid, link)); err != nil {
		t.Fatal(err)
	}
	inodes := uint32(files + 1)
	if link != "" {
		inodes++
	}
	_, err = b.Finish(inodes, root)
	return out, err
}

func archive(t *testing.T, files, uid int, link string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("f%d", i), Mode: 0o644, Uid: uid, Gid: uid}); err != nil {
			t.Fatal(err)
		}
	}
	if link != "" {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: link, Uid: uid, Gid: uid}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRootDirectory makes root inodes at many places of their metadata block
// of 8192 bytes, so that some lie across the border of two: an empty file
// takes 32 bytes of it, a symbolic link 24 and its target's length.
func TestRootDirectory(t *testing.T) {
	m, err := squashfs.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkRoot(t, m, 0, "")
	checkRoot(t, m, 600, "")
	for n := 24; n < 44; n++ {
		checkRoot(t, m, 254, strings.Repeat("x", n))
	}
}

func checkRoot(t *testing.T, m *squashfs.Mksquashfs, files int, link string) {
	t.Helper()
	out, err := build(t, m, files, 0, link, squashfs.Root{Mode: 0o1731, Mtime: 86400})
	if err != nil {
		t.Fatalf("%d files: %v", files, err)
	}
	listing, err := exec.CommandContext(t.Context(), "unsquashfs", "-lln", out.Name()).CombinedOutput()
	if err != nil {
		t.Fatalf("%d files: %v: %s", files, err, listing)
	}
	first, _, _ := strings.Cut(string(listing), "\n")
	if want := "drwx-wx--t 0/0"; !strings.HasPrefix(first, want) || !strings.Contains(first, "1970-01-02 ") {
		t.Errorf("%d files and a link of %d bytes: root is %q, want %q of 1970-01-02", files, len(link), first, want)
	}
	if n := strings.Count(string(listing), "squashfs-root/f"); n != files {
		t.Errorf("%d files: %d are listed", files, n)
	}
}

func TestFinishNoticesWhatIsMissing(t *testing.T) {
	m, err := squashfs.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		archive []byte
		inodes  uint32
		says    string
	}{
		"a complaint":        {append(bytes.Repeat([]byte("x"), 1024), archive(t, 1, 0, "")...), 2, "checksum"},
		"a truncated header": {archive(t, 1, 0, "")[:300], 2, "truncated"},
		"a missing file":     {archive(t, 1, 0, ""), 3, "it holds 2 files, 3 were written"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			b, err := m.Start(t.Context(), out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write(tt.archive); err != nil {
				t.Fatal(err)
			}
			if _, err = b.Finish(tt.inodes, squashfs.Root{}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	m, err := squashfs.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	b, err := m.Start(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := b.Finish(1, squashfs.Root{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestAsAnybody makes the same file system as another user: the bytes must not
// tell who made it. The test runs itself again as that user.
func TestAsAnybody(t *testing.T) {
	if os.Getenv("STORMCELL_AS_ANYBODY") != "" {
		m, err := squashfs.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		uid, err := strconv.Atoi(os.Getenv("STORMCELL_AS_ANYBODY"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := build(t, m, 3, uid, "", squashfs.Root{Mode: 0o755})
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("digest", digest.FromBytes(content))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it becomes other users")
	}
	if limit, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(limit)) == "0" {
		t.Skip("the kernel has no user namespaces")
	}
	// A copy that everybody may run; the files belong to root, to that user,
	// and to a third one.
	for _, owner := range []string{"0", "12345", "777"} {
		asRoot, asOther := runAs(t, 0, owner), runAs(t, 12345, owner)
		if asRoot != asOther || asRoot == "" {
			t.Errorf("files of %s: %q as root, %q as 12345", owner, asRoot, asOther)
		}
	}
}

func runAs(t *testing.T, uid uint32, owner string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "anybody") //nolint:usetesting // that user may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/test", program, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), dir+"/test", "-test.run", "^TestAsAnybody$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "STORMCELL_AS_ANYBODY=" + owner}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as %d: %v: %s", uid, err, out)
	}
	_, rest, _ := strings.Cut(string(out), "digest ")
	d, _, _ := strings.Cut(rest, "\n")
	return d
}
