package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/loopdev"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// ways are the ways to mount an overlay, each of which is forced: the product's
// own choice, the one for kernels without lowerdir+, and the other where the
// kernel has it.
func ways(t *testing.T) map[string]func(Overlay) error {
	t.Helper()
	all := map[string]func(Overlay) error{"chosen": mountOverlay, "options": mountOverlayByOptions}
	o := Overlay{Upper: t.TempDir(), Work: t.TempDir(), Target: t.TempDir(), Lower: []string{t.TempDir()}}
	switch err := mountOverlayByLayer(o); {
	case err == nil:
		all["layer by layer"] = mountOverlayByLayer
		if err := unix.Unmount(o.Target, 0); err != nil {
			t.Fatal(err)
		}
	case !errors.Is(err, unix.EINVAL):
		t.Fatal(err)
	}
	return all
}

func TestMountShowsTheImage(t *testing.T) {
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			m := n.manager(0, nil)
			m.overlay = way
			base := n.layer("base", tree{"etc/a": "base", "etc/b": "base", "gone": "x", "dir/old": "x", "kept/old": "base"})
			middle := n.layer("middle", tree{"etc/b": "middle", "gone": whiteout, "dir": opaque, "dir/new": "middle"})
			top := n.layer("top", tree{"etc/c": "top", "kept/new": "top"})
			dir := n.mount(m, "6700-w", []manifest.LocalLayer{base, middle, top})
			want := map[string]string{
				"etc/a": "base", "etc/b": "middle", "etc/c": "top", "dir/new": "middle", "kept/old": "base", "kept/new": "top",
			}
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("root file system (-want +got):\n%s", diff)
			}
			if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o755 {
				t.Errorf("mode of the root: %v (error %v), want 0755", fi.Mode(), err)
			}
			// The top is writable and the owner's own.
			if err := os.WriteFile(dir+"/etc/b", []byte("mine"), 0o644); err != nil {
				t.Error(err)
			}
			other := n.mount(m, "6701-w", []manifest.LocalLayer{base, middle, top})
			if diff := cmp.Diff(want, contents(t, other)); diff != "" {
				t.Errorf("another owner's root file system (-want +got):\n%s", diff)
			}
			checkOptions(t, n)
			n.unmount(m, "6700-w")
			n.unmount(m, "6701-w")
			n.wantNothing()
			// A new mount for the same owner starts anew.
			dir = n.mount(m, "6700-w", []manifest.LocalLayer{base, middle, top})
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("second root file system (-want +got):\n%s", diff)
			}
			n.unmount(m, "6700-w")
			n.wantNothing()
		})
	}
}

// checkOptions checks that no mount takes set-user-id programs or devices from
// an image, and that layers are read-only on read-only devices.
func checkOptions(t *testing.T, n *node) {
	t.Helper()
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.run))
	if err != nil {
		t.Fatal(err)
	}
	for _, mount := range list {
		options := "," + mount.Options + ","
		if !strings.Contains(options, ",nosuid,") || !strings.Contains(options, ",nodev,") {
			t.Errorf("%s has options %s, want nosuid and nodev", mount.Mountpoint, mount.Options)
		}
		if mount.FSType == "squashfs" && !strings.Contains(options, ",ro,") {
			t.Errorf("%s is writable: %s", mount.Mountpoint, mount.Options)
		}
	}
	for _, d := range n.devices() {
		if !d.ReadOnly || !d.Autoclear {
			t.Errorf("loop device %+v, want read-only and autoclear", d)
		}
	}
}

func TestMountIsRepeatable(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(2)
	first := n.mount(m, "6700-w", layers)
	before := n.mounts()
	if second := n.mount(m, "6700-w", layers); second != first {
		t.Errorf("second call returns %s, the first %s", second, first)
	}
	if diff := cmp.Diff(before, n.mounts()); diff != "" {
		t.Errorf("the second call changed the mounts:\n%s", diff)
	}
	if _, err := m.Mount(t.Context(), "6700-w", layers[:1]); !errors.Is(err, ErrOtherLayers) {
		t.Errorf("other layers: %v, want ErrOtherLayers", err)
	}
	// Somebody unmounts it, and a layer, by hand.
	for _, point := range []string{first, m.dirs.layerMnt(layers[0].Digest)} {
		if err := unix.Unmount(point, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := contents(t, n.mount(m, "6700-w", layers)); got["who"] != "layer-1" || got["files/layer-0"] == "" {
		t.Errorf("after unmounting by hand it holds %v", got)
	}
	n.unmount(m, "6700-w")
	n.unmount(m, "6700-w")
	n.wantNothing()
}

func TestSharedLayers(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(3)
	n.mount(m, "a", layers[:2])
	n.mount(m, "b", layers[1:])
	if got := n.layerMounts(); len(got) != 3 || m.Mounted() != 3 {
		t.Fatalf("layers mounted: %v, said %d, want 3", got, m.Mounted())
	}
	n.unmount(m, "a")
	if got := n.layerMounts(); len(got) != 2 || m.Mounted() != 2 {
		t.Errorf("layers mounted after the first owner left: %v, said %d, want those of the second", got, m.Mounted())
	}
	if got := contents(t, m.dirs.rootfs("b")); got["files/layer-1"] == "" || got["files/layer-2"] == "" {
		t.Errorf("second owner sees %v", got)
	}
	n.unmount(m, "b")
	n.wantNothing()
}

func TestKeepMounts(t *testing.T) {
	n := newNode(t)
	m := n.manager(2, nil)
	clock := time.Unix(1000, 0)
	m.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	layers := n.layers(4)
	for i := range layers {
		n.mount(m, "w", layers[i:i+1])
		n.unmount(m, "w")
	}
	kept := []string{m.dirs.layerMnt(layers[2].Digest), m.dirs.layerMnt(layers[3].Digest)}
	if diff := cmp.Diff(kept, n.mounts()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	// After a restart the order of use is still known.
	m = n.manager(1, nil)
	if diff := cmp.Diff(kept[1:], n.mounts()); diff != "" {
		t.Errorf("kept by the next agent (-want +got):\n%s", diff)
	}
	// A deleted file's space is freed at once.
	if err := os.Remove(layers[3].Path); err != nil {
		t.Fatal(err)
	}
	if err := m.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.wantNothing()
}

func TestUnmountWaitsForTheBusy(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(1)
	dir := n.mount(m, "w", layers)
	f, err := os.Open(dir + "/who")
	if err != nil {
		t.Fatal(err)
	}
	waits := 0
	m.wait = func(context.Context, time.Duration) error { waits++; return nil }
	if err := m.Unmount(t.Context(), "w"); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), dir) {
		t.Errorf("busy: %v, want ErrBusy with the path", err)
	}
	if waits < 10 {
		t.Errorf("gave up after %d waits", waits)
	}
	if got := contents(t, dir); got["who"] != "layer-0" {
		t.Errorf("after the failure it holds %v", got)
	}
	m.wait = func(ctx context.Context, _ time.Duration) error { return f.Close() }
	n.unmount(m, "w")
	n.wantNothing()
}

func TestUnmountCannotDeleteThroughAMount(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	n.mount(m, "w", n.layers(1))
	precious := t.TempDir()
	if err := os.WriteFile(precious+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := m.dirs.upper("w") + "/bound"
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, inside, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), "w"); err == nil || !strings.Contains(err.Error(), inside) {
		t.Errorf("error %v, want one that names %s", err, inside)
	}
	if _, err := os.Stat(precious + "/file"); err != nil {
		t.Errorf("it deleted through a mount: %v", err)
	}
	if err := unix.Unmount(inside, 0); err != nil {
		t.Fatal(err)
	}
	n.unmount(m, "w")
	n.wantNothing()
}

func TestUnmountLeavesTheFilesOfOthers(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	n.mount(m, "w", n.layers(1))
	record := m.dirs.owner("w") + "/record.json"
	if err := os.WriteFile(record, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.unmount(m, "w")
	if entries, err := os.ReadDir(m.dirs.owner("w")); err != nil || len(entries) != 1 {
		t.Errorf("left in the owner's directory: %v (error %v), want record.json", entries, err)
	}
	if err := os.RemoveAll(m.dirs.owner("w")); err != nil {
		t.Fatal(err)
	}
	n.wantNothing()
}

func TestMountRefuses(t *testing.T) {
	n := newNode(t)
	good := n.layer("good", tree{"a": "a"})
	bad := func(name string, prepare func(path string) error) manifest.LocalLayer {
		path := filepath.Join(n.cache, name)
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		return manifest.LocalLayer{Digest: digest.FromString(name), Path: path}
	}
	content, err := os.ReadFile(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte, mode fs.FileMode) func(string) error {
		return func(path string) error { return errors.Join(os.WriteFile(path, content, 0o600), os.Chmod(path, mode)) }
	}
	for name, c := range map[string]struct {
		layer manifest.LocalLayer
		want  error
	}{
		"file is missing":             {manifest.LocalLayer{Digest: digest.FromString("x"), Path: n.cache + "/x"}, fs.ErrNotExist},
		"file is a link":              {bad("link", func(p string) error { return os.Symlink(good.Path, p) }), unix.ELOOP},
		"file is a fifo":              {bad("fifo", func(p string) error { return unix.Mkfifo(p, 0o600) }), ErrUntrusted},
		"file is another user's":      {bad("other", func(p string) error { return errors.Join(write(content, 0o400)(p), os.Chown(p, 65534, 0)) }), ErrUntrusted},
		"file is writable for others": {bad("open", write(content, 0o666)), ErrUntrusted},
		"not a squashfs":              {bad("text", write([]byte(strings.Repeat("text", 4096)), 0o444)), unix.EINVAL},
		"cut short":                   {bad("short", write(content[:len(content)/8], 0o444)), unix.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			m := n.manager(0, nil)
			_, err := m.Mount(t.Context(), "w", []manifest.LocalLayer{good, c.layer})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.layer.Digest.String()) {
				t.Errorf("error %v, want %v and the layer's digest", err, c.want)
			}
			n.wantNothing()
		})
	}
}

func TestMountFailureLeavesNothing(t *testing.T) {
	n := newNode(t)
	layers := n.layers(2)
	for name, breakIt := range map[string]func(m *Manager){
		"attach":  func(m *Manager) { m.attach = func(*os.File) (*loopdev.Device, error) { return nil, unix.EIO } },
		"overlay": func(m *Manager) { m.overlay = func(Overlay) error { return unix.EIO } },
	} {
		t.Run(name, func(t *testing.T) {
			m := n.manager(0, nil)
			breakIt(m)
			if _, err := m.Mount(t.Context(), "w", layers); !errors.Is(err, unix.EIO) {
				t.Errorf("error %v, want EIO", err)
			}
			n.wantNothing()
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		m := n.manager(0, nil)
		ctx, cancel := context.WithCancel(t.Context())
		m.attach = func(f *os.File) (*loopdev.Device, error) { cancel(); return loopdev.Attach(f) }
		if _, err := m.Mount(ctx, "w", layers); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		n.wantNothing()
	})
	t.Run("not recovered", func(t *testing.T) {
		m := New(Options{RunRoot: n.run})
		if _, err := m.Mount(t.Context(), "w", layers); !errors.Is(err, ErrNotRecovered) {
			t.Errorf("Mount: %v, want ErrNotRecovered", err)
		}
		if err := m.Unmount(t.Context(), "w"); !errors.Is(err, ErrNotRecovered) {
			t.Errorf("Unmount: %v, want ErrNotRecovered", err)
		}
	})
}

func TestManyLayers(t *testing.T) {
	n := newNode(t)
	few := n.layers(8)
	for _, count := range []int{120, 500} {
		layers := make([]manifest.LocalLayer, count)
		for i := range layers {
			// A name of its own makes it a layer of its own.
			layers[i] = manifest.LocalLayer{Digest: digest.FromString(strconv.Itoa(i)), Path: few[i%len(few)].Path}
		}
		for name, way := range ways(t) {
			t.Run(fmt.Sprintf("%d %s", count, name), func(t *testing.T) {
				m := n.manager(0, nil)
				m.overlay = way
				got := contents(t, n.mount(m, "w", layers))
				if want := few[(count-1)%len(few)]; got["who"] != strings.TrimSuffix(filepath.Base(want.Path), ".sqsh") || len(got) != 9 {
					t.Errorf("root file system holds %v", got)
				}
				if got := len(n.layerMounts()); got != count {
					t.Errorf("%d layers mounted, want %d", got, count)
				}
				n.unmount(m, "w")
				n.wantNothing()
			})
		}
	}
}

func TestSideBySide(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(4)
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			owner := fmt.Sprintf("670%d-w", w)
			for round := range 5 {
				mine := layers[round%3:]
				dir, err := m.Mount(t.Context(), owner, mine)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(fmt.Sprintf("%s/files/layer-%d", dir, round%3)); err != nil {
					t.Error(err)
				}
				if err := m.Unmount(t.Context(), owner); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	n.wantNothing()
	if len(m.layers) != 0 || len(m.owners) != 0 || len(m.locks.busy) != 0 {
		t.Errorf("still in memory: layers %v, owners %v, locks %v", maps.Keys(m.layers), m.owners, m.locks.busy)
	}
}
