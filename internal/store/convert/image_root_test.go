package convert_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// TestConvertedImageEqualsExtractedImage reads an image twice, in two ways
// that share nothing: converted, mounted and overlaid by the kernel; and as
// go-containerregistry flattens it and GNU tar unpacks it.
func TestConvertedImageEqualsExtractedImage(t *testing.T) {
	needsRoot(t)
	image := makeImage(t, gzipLayers, baseLayer(), upperLayer(), topLayer())
	store, converter := newStore(t)
	report := publishImage(t, converter, writeLayout(t, image), "storm/demo:1")

	got := snapshot(t, mountImage(t, store, report.Images[0].Layers))
	want := snapshot(t, extract(t, image))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-extracted +converted):\n%s", diff)
	}
	if len(got) < 35 {
		t.Errorf("only %d files were compared", len(got))
	}
	if got["etc/gone"] != "" || got["opt/app/old"] != "" || got["opt/app/new"] == "" {
		t.Errorf("whiteouts had no effect: %v", got)
	}
}

// TestLayersAsNodesSeeThem checks what only a single layer shows.
func TestLayersAsNodesSeeThem(t *testing.T) {
	needsRoot(t)
	lower := tarOf(t, tarDir("d"), tarFile("d/below", "1"), tarDir("e"), tarFile("e/below", "1"), tarFile("f", "old"),
		tarFile("one", "old"), tar.Header{Typeflag: tar.TypeLink, Name: "other", Linkname: "one"},
	)
	upper := tarOf(t,
		tarFile("d/.wh..wh..opq", ""), tarFile("d/f", "1"),
		tarFile(".wh.e", ""), tarFile("e/g", "1"), // removed and made anew
		tarFile(".wh.f", ""),
		tarFile("one", "new"), // go-containerregistry would change "other" with it
		tarFile("twice", "first"), tarFile("twice", "second"),
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, ModTime: time.Unix(1234, 0)},
	)
	image := makeImage(t, gzipLayers, lower, upper)
	store, converter := newStore(t)
	report := publishImage(t, converter, writeLayout(t, image), "storm/demo:1")

	root := mountImage(t, store, report.Images[0].Layers)
	merged := snapshot(t, root)
	var names []string
	for name := range merged {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"d", "d/f", "e", "e/g", "one", "other", "twice"}, names); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	single := mountLayer(t, filepath.Join(store, manifest.LayerFile(report.Images[0].Layers[1].Digest)))
	fi, err := os.Stat(single)
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); fi.Mode().Perm() != 0o711 || fi.ModTime().Unix() != 1234 || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("root directory: %v, %v, owner %d:%d", fi.Mode(), fi.ModTime(), st.Uid, st.Gid)
	}
	for name, want := range map[string]string{"twice": "second", "one": "new", "other": "old"} {
		if content, err := os.ReadFile(filepath.Join(root, name)); string(content) != want {
			t.Errorf("%s: %q, %v, want %q", name, content, err, want)
		}
	}
}

// baseLayer has everything that a file system can have.
func baseLayer() []any {
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	long := strings.Repeat("long-name-", 20)
	return []any{
		tarDir("bin"), tarDir("etc"), tarDir("opt"), tarDir("opt/app"), tarDir("var"), tarDir("dev"), tarDir("usr"), tarDir("usr/lib"),
		tarFile("bin/plain", "plain"),
		tarFile("bin/empty", ""),
		tarFile("bin/large", strings.Repeat("0123456789abcdef", 100_000)),
		tarFile("bin/zeros", strings.Repeat("\x00", 700_000)+"end"),
		with(tarFile("bin/suid", "suid"), func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o6755, 0, 50 }),
		with(tarFile("bin/odd", "odd"), func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o641, 1234567, 4_000_000_000 }),
		with(tarFile("bin/ping", "ping"), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "a\nb\x00c=d", "SCHILY.xattr.user.empty": ""}
		}),
		with(tarDir("var/tmp"), func(h *tar.Header) {
			h.Mode, h.PAXRecords = 0o1777, map[string]string{"SCHILY.xattr.user.dir": "1", "SCHILY.xattr.trusted.t": "2"}
		}),
		tar.Header{Typeflag: tar.TypeLink, Name: "bin/hard", Linkname: "bin/plain"},
		tar.Header{Typeflag: tar.TypeLink, Name: "usr/lib/hard", Linkname: "bin/plain"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/dangling", Linkname: "/no/such/file", Uid: 3, Gid: 4, ModTime: time.Unix(99, 0)},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/longlink", Linkname: strings.Repeat("x/", 200)},
		tar.Header{Typeflag: tar.TypeFifo, Name: "dev/pipe", Mode: 0o600},
		tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeBlock, Name: "dev/loop300", Mode: 0o660, Gid: 6, Devmajor: 7, Devminor: 300},
		tarDir(long), tarDir(long + "/" + long), tarFile(long+"/"+long+"/f", "deep"),
		tarFile("etc/\xff not utf-8\nnewline \"quoted\"", "odd name"),
		tarFile("etc/keep", "1"), tarFile("etc/change", "old"), tarFile("etc/gone", "1"),
		tarDir("etc/gone.d"), tarFile("etc/gone.d/f", "1"), tarDir("etc/gone.d/sub"), tarFile("etc/gone.d/sub/f", "1"),
		tarFile("opt/app/old", "1"), tarDir("opt/app/sub"), tarFile("opt/app/sub/old", "1"),
		tarFile("var/becomes-dir", "1"), tarDir("var/becomes-file"), tarFile("var/becomes-file/f", "1"),
		with(tarFile("etc/future", "1"), func(h *tar.Header) { h.ModTime = time.Unix(4_000_000_000, 0) }),
	}
}

// upperLayer changes, hides and replaces files of the base.
func upperLayer() []any {
	return []any{
		tarDir("etc"),
		tarFile("etc/change", "new"), tarFile("etc/.wh.gone", ""), tarFile("etc/.wh.gone.d", ""),
		tarDir("opt"), tarDir("opt/app"), tarFile("opt/app/.wh..wh..opq", ""), tarFile("opt/app/new", "1"),
		tarDir("var"), tarDir("var/becomes-dir"), tarFile("var/becomes-dir/f", "1"), tarFile("var/becomes-file", "1"),
		tarFile("var/only-here", "1"),
	}
}

// topLayer brings back a file that upperLayer hid, and hides one of it.
func topLayer() []any {
	return []any{
		tarDir("etc"), tarDir("etc/gone.d"), tarFile("etc/gone.d/again", "1"),
		tarDir("var"), tarFile("var/.wh.only-here", ""),
		tarDir("bin"), with(tarFile("bin/empty", "no more"), func(h *tar.Header) { h.Mode = 0o700 }),
	}
}

// mountImage overlays the layers as a node does, read-only.
func mountImage(t *testing.T, store string, layers []publish.LayerResult) string {
	t.Helper()
	var lower []string
	for _, l := range slices.Backward(layers) {
		lower = append(lower, mountLayer(t, filepath.Join(store, manifest.LayerFile(l.Digest))))
	}
	target := t.TempDir()
	mount(t, target, "-t", "overlay", "overlay", "-o", "ro,lowerdir="+strings.Join(lower, ":"))
	return target
}

func mountLayer(t *testing.T, file string) string {
	t.Helper()
	target := t.TempDir()
	mount(t, target, "-t", "squashfs", "-o", "ro,loop", file)
	return target
}

func mount(t *testing.T, target string, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", append(args, target)...).CombinedOutput(); err != nil {
		t.Fatalf("mount %v: %v: %s", args, err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// extract unpacks the image the independent way.
func extract(t *testing.T, image v1.Image) string {
	t.Helper()
	target := t.TempDir()
	content := mutate.Extract(image)
	defer content.Close()
	cmd := exec.Command("tar", "-x", "-p", "-C", target, "--delay-directory-restore", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*")
	cmd.Stdin = content
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return target
}

// snapshot describes every file below dir but dir itself.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	first := map[uint64]string{} // by inode, for hard links
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		files[name], err = describe(path, name, first)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func describe(path, name string, first map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	s := fmt.Sprintf("mode %o owner %d:%d mtime %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			s += " links with " + first[st.Ino]
		}
		s += fmt.Sprintf(" size %d sha256 %x", len(content), sha256.Sum256(content))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		s += " -> " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		s += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	x, err := xattrs(path)
	return s + x, err
}

func xattrs(path string) (string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil // a squashfs without any
	}
	if err != nil {
		return "", fmt.Errorf("list attributes of %s: %w", path, err)
	}
	names := strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00")
	slices.Sort(names)
	var s strings.Builder
	for _, name := range names {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("attribute %s of %s: %w", name, path, err)
		}
		fmt.Fprintf(&s, " %s=%q", name, value[:n])
	}
	return s.String(), nil
}

// TestAgreesWithUnsquashfs reads a layer without the kernel.
func TestAgreesWithUnsquashfs(t *testing.T) {
	needsRoot(t)
	image := makeImage(t, gzipLayers, baseLayer())
	store, converter := newStore(t)
	report := publishImage(t, converter, writeLayout(t, image), "storm/demo:1")
	target := filepath.Join(t.TempDir(), "root")
	cmd := exec.Command("unsquashfs", "-d", target, "-no-progress", "-quiet", filepath.Join(store, manifest.LayerFile(report.Images[0].Layers[0].Digest)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v: %s", err, out)
	}
	if diff := cmp.Diff(snapshot(t, extract(t, image)), snapshot(t, target)); diff != "" {
		t.Errorf("files (-extracted +unsquashed):\n%s", diff)
	}
}

// TestSparseFiles converts what GNU tar writes of a file with holes, in each
// of its formats.
func TestSparseFiles(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 1 << 20, 5<<20 + 4096} {
		if _, err := f.WriteAt([]byte("data"), offset); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(8<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range [][]string{{"--format=gnu"}, {"--format=posix", "--sparse-version=0.0"}, {"--format=posix", "--sparse-version=0.1"}, {"--format=posix", "--sparse-version=1.0"}} {
		t.Run(strings.Join(format, " "), func(t *testing.T) {
			content, err := exec.CommandContext(context.Background(), "tar", append(format, "-cS", "-C", dir, "sparse")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if len(content) > 1<<20 {
				t.Fatalf("tar wrote %d bytes, no holes", len(content))
			}
			store, converter := newStore(t)
			report := publishImage(t, converter, writeLayout(t, imageOf(t, content)), "storm/demo:1")
			got, err := os.ReadFile(filepath.Join(mountLayer(t, filepath.Join(store, manifest.LayerFile(report.Images[0].Layers[0].Digest))), "sparse"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Error("the content differs")
			}
		})
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts squashfs and overlay")
	}
}
