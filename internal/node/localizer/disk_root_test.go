package localizer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisks are file systems of 12 MiB, by name.
var smallDisks = map[string]func(t *testing.T, dir string){
	"tmpfs": func(t *testing.T, dir string) { mount(t, "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", dir) },
	"ext4": func(t *testing.T, dir string) {
		image := filepath.Join(t.TempDir(), "disk")
		if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 12<<20)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image).CombinedOutput(); err != nil {
			t.Fatalf("mkfs.ext4: %v: %s", err, out)
		}
		mount(t, "-o", "loop", image, dir)
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	},
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		t.Fatalf("mount %v: %v: %s", args, err, out)
	}
	t.Cleanup(func() {
		// Detached: the Localizer has its directory open until it is collected.
		if err := unix.Unmount(args[len(args)-1], unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// onSmallDisks runs a test on each of them, with a cache on it.
func onSmallDisks(t *testing.T, sizes []int, test func(t *testing.T, s *site)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system of its own")
	}
	for name, make := range smallDisks {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sizes...)
			if err := os.Mkdir(s.cache, 0o700); err != nil {
				t.Fatal(err)
			}
			make(t, s.cache)
			test(t, s)
		})
	}
}

func TestFullDisk(t *testing.T) {
	onSmallDisks(t, []int{6 << 20, 6 << 20, 40 << 20}, func(t *testing.T, s *site) {
		images, layers := oneLayerImages(s), s.image.Layers
		l := s.localizer(nil)
		s.localize(l, "a", images[0])
		_, err := l.Localize(t.Context(), "b", images[1], nil)
		if !errors.Is(err, ErrDiskFull) {
			t.Fatalf("error %v, want ErrDiskFull", err)
		}
		t.Log(err)
		for _, want := range []string{s.cache, " needs 6", " free", "storm.oci.resources.local.dir"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
		s.wantLayers(layers[0])
		// What nobody holds makes room.
		l.Release("a")
		s.localize(l, "b", images[1])
		s.wantLayers(layers[1])
		l.Release("b")
		// Larger than the whole disk: what is there is tried, and nothing half is left.
		if _, err := l.Localize(t.Context(), "c", images[2], nil); !errors.Is(err, ErrDiskFull) {
			t.Errorf("error %v, want ErrDiskFull", err)
		}
		s.wantLayers()
		s.localize(l, "a", images[0])
	})
}

// Somebody else may take the room that a file system cannot set aside.
func TestDiskThatFillsWhileWriting(t *testing.T) {
	onSmallDisks(t, []int{4 << 20, 4 << 20}, func(t *testing.T, s *site) {
		images := oneLayerImages(s)
		foreign := filepath.Join(s.cache, "foreign")
		store := &faultyStore{}
		l := s.localizer(store)
		s.localize(l, "a", images[0])
		fill := func() {
			// A file of which nothing is on the disk yet, and then no room for it.
			name := partialName(s.image.Layers[1].Squashfs.Digest)
			if err := os.WriteFile(l.cache.path(name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(l.cache.path(name), s.image.Layers[1].Squashfs.Size); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "dd", "if=/dev/zero", "of="+foreign, "bs=64k").CombinedOutput()
			if err == nil {
				t.Fatalf("the disk never got full: %s", out)
			}
		}
		fill()
		if _, err := l.Localize(t.Context(), "b", images[1], nil); !errors.Is(err, ErrDiskFull) {
			t.Errorf("error %v, want ErrDiskFull", err)
		}
		s.wantLayers(s.image.Layers[0])
		// What nobody holds makes room, also in the middle of a file.
		l.Release("a")
		fill()
		s.localize(l, "b", images[1])
		s.wantLayers(s.image.Layers[1])
	})
}

// A prefetch fills a disk no further than pressure would empty it again.
func TestRoomUntilADiskIsTooFull(t *testing.T) {
	for name, tt := range map[string]struct {
		marks marks
		disk  disk
		want  int64
	}{
		"below the mark": {marks{85, 80}, disk{used: 500, free: 500}, 350},
		"at the mark":    {marks{85, 80}, disk{used: 850, free: 150}, 0},
		"above the mark": {marks{85, 80}, disk{used: 900, free: 100}, -50},
		"no mark":        {marks{100, 100}, disk{used: 900, free: 100}, 100},
		"marks not set":  {marks{}, disk{used: 900, free: 100}, 100},
	} {
		if got := tt.marks.room(tt.disk); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestDiskPressure(t *testing.T) {
	onSmallDisks(t, []int{1 << 20, 1 << 20, 1 << 20, 1 << 20}, func(t *testing.T, s *site) {
		images, layers := oneLayerImages(s), s.image.Layers
		evictions := 0
		l := s.localizer(nil, func(o *Options) {
			o.DiskHighPercent, o.DiskLowPercent = 85, 75
			o.Evicted = func(context.Context) error { evictions++; return nil }
		})
		for i, owner := range []string{"held", "a", "b", "c"} {
			s.localize(l, owner, images[i])
		}
		for _, owner := range []string{"a", "b", "c"} {
			l.Release(owner)
		}
		s.wantLayers(layers...)
		// Others fill the disk: what lies idle goes, the oldest first, no more than will do.
		use := func(percent int64) {
			d, err := diskOf(s.cache)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(s.cache, "foreign"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(make([]byte, (d.used+d.free)*percent/100-d.used)); err != nil {
				t.Fatal(err)
			}
		}
		use(84)
		l.cache.relieve(t.Context())
		s.wantLayers(layers...)
		use(87)
		l.cache.relieve(t.Context())
		s.wantLayers(layers[0], layers[3])
		if evictions != 1 {
			t.Errorf("told of %d evictions, want 1", evictions)
		}
		// A new file is looked at, too; what is held stays, and no error comes of it.
		use(80)
		s.localize(l, "a", images[1])
		s.wantLayers(layers[0], layers[1])
		use(95)
		l.cache.relieve(t.Context())
		s.wantLayers(layers[0], layers[1])
		// And so is a release.
		l.Release("a")
		s.wantLayers(layers[0])
	})
}
