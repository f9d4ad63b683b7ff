package localizer

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk puts the site's cache on a tmpfs of that many bytes.
func smallDisk(t *testing.T, s *site, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system of its own")
	}
	if err := os.Mkdir(s.cache, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.cache, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(s.cache, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestFullDisk(t *testing.T) {
	s := newSite(t, 600<<10, 600<<10, 5<<20)
	images, layers := oneLayerImages(s), s.image.Layers
	smallDisk(t, s, "1m")
	l := s.localizer(nil)
	s.localize(l, "a", images[0])
	_, err := l.Localize(t.Context(), "b", images[1], nil)
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), s.cache) {
		t.Errorf("error %v, want ErrDiskFull with the directory", err)
	}
	t.Log(err)
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
}

func TestDiskThatFillsWhileWriting(t *testing.T) {
	s := newSite(t, 2<<20)
	smallDisk(t, s, "1m")
	l := s.localizer(nil)
	// As on a file system that cannot set room aside.
	dst, err := l.cache.create(t.Context(), layersDir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.discard()
	dst.size = s.image.Layers[0].Squashfs.Size
	src, err := l.openSource(t.Context(), s.image.Layers[0].File)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	_, err = l.copy(t.Context(), &source{l: l, name: s.image.Layers[0].File, file: src}, dst, func(int64) {})
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("error %v, want ErrDiskFull", err)
	}
	dst.size = 1
	dst.discard()
	s.wantLayers()
}
