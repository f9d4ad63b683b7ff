package rootfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/loopdev"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// node is a machine of its own: a cache of layer files and a run root. At its
// end the test fails if a mount or a loop device of it is left.
type node struct {
	testing.TB
	cache, run string
}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loop devices and mounts")
	}
	dir := t.TempDir()
	n := &node{TB: t, cache: dir + "/layers", run: dir + "/run"}
	if err := os.Mkdir(n.cache, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := n.mounts(); len(left) > 0 {
			t.Errorf("mounts left: %v", left)
			slices.Reverse(left)
			for _, m := range left {
				_ = unix.Unmount(m, unix.MNT_DETACH)
			}
		}
		for _, d := range n.devices() {
			t.Errorf("loop device left: %+v", d)
			_ = loopdev.Detach(d.Path)
		}
	})
	return n
}

// manager returns a Manager as it is after the start of an agent on which live
// containers run.
func (n *node) manager(keep int, live map[string][]digest.Digest) *Manager {
	n.Helper()
	m := New(Options{RunRoot: n.run, LayersDir: n.cache, KeepMounts: keep})
	if err := m.Recover(n.Context(), live); err != nil {
		n.Fatalf("recover: %v", err)
	}
	return m
}

func (n *node) mount(m *Manager, owner string, layers []manifest.LocalLayer) string {
	n.Helper()
	dir, err := m.Mount(n.Context(), owner, layers)
	if err != nil {
		n.Fatal(err)
	}
	return dir
}

func (n *node) unmount(m *Manager, owner string) {
	n.Helper()
	if err := m.Unmount(n.Context(), owner); err != nil {
		n.Fatal(err)
	}
}

// mounts returns the mount points below the run root, oldest first.
func (n *node) mounts() []string {
	n.Helper()
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.run))
	if err != nil {
		n.Fatal(err)
	}
	var points []string
	for _, m := range list {
		points = append(points, m.Mountpoint)
	}
	return points
}

// layerMounts returns the mount points of layers.
func (n *node) layerMounts() []string {
	n.Helper()
	return slices.DeleteFunc(n.mounts(), func(p string) bool { return !strings.HasPrefix(p, n.run+"/layers/") })
}

// devices returns the loop devices with a file of the cache, deleted ones too.
func (n *node) devices() []loopdev.Info {
	n.Helper()
	list, err := loopdev.List()
	if err != nil {
		n.Fatal(err)
	}
	return slices.DeleteFunc(list, func(i loopdev.Info) bool { return !strings.HasPrefix(i.Backing, n.cache+"/") })
}

// wantNothing checks that no mount, loop device or directory is left.
func (n *node) wantNothing() {
	n.Helper()
	if left := n.mounts(); len(left) > 0 {
		n.Errorf("mounts left: %v", left)
	}
	if left := n.devices(); len(left) > 0 {
		n.Errorf("loop devices left: %+v", left)
	}
	for _, dir := range []string{"layers", "workers"} {
		entries, err := os.ReadDir(n.run + "/" + dir)
		if err != nil || len(entries) > 0 {
			n.Errorf("left in %s: %v (error %v)", dir, entries, err)
		}
	}
}

// tree is the content of a layer by path: "whiteout", "opaque" (a directory
// that hides the lower one), else a file's text.
type tree map[string]string

const (
	whiteout = "\x00whiteout"
	opaque   = "\x00opaque"
)

// layer makes a squashfs layer with the real mksquashfs.
func (n *node) layer(name string, files tree) manifest.LocalLayer {
	n.Helper()
	src := n.TempDir()
	for path, content := range files {
		if err := writeEntry(filepath.Join(src, path), content); err != nil {
			n.Fatal(err)
		}
	}
	file := filepath.Join(n.cache, name+".sqsh")
	out, err := exec.CommandContext(n.Context(), "mksquashfs", src, file, "-noappend", "-quiet", "-no-progress", "-processors", "1").CombinedOutput()
	if err != nil {
		n.Fatalf("mksquashfs: %v: %s", err, out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		n.Fatal(err)
	}
	return manifest.LocalLayer{Digest: digest.FromBytes(content), Path: file}
}

func writeEntry(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch content {
	case whiteout:
		return syscall.Mknod(path, syscall.S_IFCHR, 0)
	case opaque:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// layers makes count small layers; each has a file of its own, and all have
// the file "who", which names its layer.
func (n *node) layers(count int) []manifest.LocalLayer {
	n.Helper()
	var layers []manifest.LocalLayer
	for i := range count {
		name := fmt.Sprintf("layer-%d", i)
		layers = append(layers, n.layer(name, tree{"who": name, "files/" + name: name}))
	}
	return layers
}

func digests(layers []manifest.LocalLayer) []digest.Digest {
	var ds []digest.Digest
	for _, l := range layers {
		ds = append(ds, l.Digest)
	}
	return ds
}

// contents returns the files below dir with their text.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
