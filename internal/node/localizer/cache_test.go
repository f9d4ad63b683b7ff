package localizer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

func TestVictims(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	entries := map[string]entry{
		"old": {size: 10, used: at(1)}, "older": {size: 10, used: at(0)}, "new": {size: 10, used: at(9)},
		"held": {size: 10, used: at(0)}, "busy": {size: 10, used: at(0), busy: true},
	}
	held := func(name string) bool { return name == "held" }
	for need, want := range map[int64][]string{
		1:  {"older"},
		10: {"older"},
		11: {"older", "old"},
		30: {"older", "old", "new"},
		99: {"older", "old", "new"},
	} {
		t.Run(strconv.FormatInt(need, 10), func(t *testing.T) {
			if diff := cmp.Diff(want, victims(entries, held, need)); diff != "" {
				t.Errorf("victims (-want +got):\n%s", diff)
			}
		})
	}
}

// oneLayerImages splits the site's image into one image per layer.
func oneLayerImages(s *site) []manifest.Image {
	var images []manifest.Image
	for _, l := range s.image.Layers {
		images = append(images, manifest.Image{Tag: s.image.Tag, Config: s.image.Config, Layers: []manifest.Layer{l}})
	}
	return images
}

func TestEviction(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	one := layers[0].Squashfs.Size
	limited := func(o *Options) { o.MaxBytes = 2*one + one/2 }
	l := s.localizer(nil, limited)
	s.localize(l, "a", images[0])
	s.localize(l, "b", images[1])
	s.wantLayers(layers[0], layers[1])
	// No room while both are held.
	_, err := l.Localize(t.Context(), "c", images[2], nil)
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("error %v, want ErrDiskFull", err)
	}
	t.Log(err)
	s.wantLayers(layers[0], layers[1])
	// Released ones go, the least recently used first.
	l.Release("b")
	l.Release("a")
	s.localize(l, "c", images[2])
	s.wantLayers(layers[0], layers[2])
	// A held one stays whatever its age is; so does one held after a restart.
	l = s.localizer(nil, limited)
	l.Hold("c", []digest.Digest{layers[2].Squashfs.Digest})
	s.localize(l, "d", images[3])
	s.wantLayers(layers[2], layers[3])
	// Two owners of one layer.
	s.localize(l, "e", images[2])
	l.Release("c")
	l.Release("d")
	l.Release("nobody")
	s.localize(l, "f", images[0])
	s.wantLayers(layers[0], layers[2])
}

// TestAnImageDoesNotEvictItself: a layer that is here gives no room to another
// layer of the same image, however long it was idle.
func TestAnImageDoesNotEvictItself(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	var store faultyStore
	l := s.localizer(&store, func(o *Options) { o.MaxBytes = layers[0].Squashfs.Size * 5 / 2 })
	for _, i := range []int{1, 2} {
		s.localize(l, "w", images[i])
		l.Release("w")
	}
	s.image.Layers = layers[:2]
	s.localize(l, "w", s.image)
	s.wantLayers(layers[0], layers[1])
	if n, _ := store.totals(); n != layers[0].Squashfs.Size*3 {
		t.Errorf("%d bytes were read, want %d: each layer once", n, layers[0].Squashfs.Size*3)
	}
}

func TestEvictionIsTold(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10)
	images := oneLayerImages(s)
	told := 0
	l := s.localizer(nil, func(o *Options) {
		o.MaxBytes = s.image.Layers[0].Squashfs.Size * 3 / 2
		o.Evicted = func(context.Context) error {
			s.wantLayers() // it is deleted by now
			told++
			return nil
		}
	})
	s.localize(l, "a", images[0])
	l.Release("a")
	if told != 0 {
		t.Errorf("told %d times before anything was evicted", told)
	}
	s.localize(l, "b", images[1])
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
}

func TestEvictionOrderOutlivesTheProcess(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	l := s.localizer(nil)
	for i := range 2 {
		s.localize(l, "w", images[i])
		l.Release("w")
	}
	s.localize(l, "w", images[0]) // now the second is the older one
	l.Release("w")
	l = s.localizer(nil, func(o *Options) { o.MaxBytes = layers[0].Squashfs.Size * 5 / 2 })
	s.localize(l, "w", images[2])
	s.wantLayers(layers[0], layers[2])
}

func TestLowerLimitAppliesAtRelease(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10)
	s.localize(s.localizer(nil), "w", s.image)
	l := s.localizer(nil, func(o *Options) { o.MaxBytes = s.image.Layers[0].Squashfs.Size * 3 / 2 })
	l.Hold("w", []digest.Digest{s.image.Layers[0].Squashfs.Digest, s.image.Layers[1].Squashfs.Digest})
	s.wantLayers(s.image.Layers...)
	l.Release("w")
	if got := len(s.files()); got != 1 {
		t.Errorf("%d layers in the cache, want 1", got)
	}
}

func TestCacheDirectoryIsForRootOnly(t *testing.T) {
	s := newSite(t, 1000)
	s.localize(s.localizer(nil), "w", s.image)
	for _, dir := range []string{"", "layers", "config"} {
		fi, err := os.Stat(filepath.Join(s.cache, dir))
		if err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("directory %q has mode %v (error %v), want 0700", dir, fi.Mode(), err)
		}
	}
}
