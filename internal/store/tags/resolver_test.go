package tags

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func newTestResolver(s *testStore, c *clock) *Resolver {
	return NewResolver(
		NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now), s,
		Options{Verify: store.VerifyIfPresent, Interval: interval, Images: 2, Now: c.now},
	)
}

func wantImage(t *testing.T, r *Resolver, tag string, d digest.Digest, layers int) {
	t.Helper()
	image, a, err := r.Resolve(t.Context(), tag)
	if err != nil || a.Stale {
		t.Fatalf("%s: %+v, %v", tag, a, err)
	}
	if image.Tag != tag || image.ManifestDigest != d || len(image.Layers) != layers {
		t.Errorf("%s: got %+v, want %s with %d layers", tag, image, d, layers)
	}
}

func TestResolve(t *testing.T) {
	s, c := newStore(t), newClock()
	d := s.image(t, 3)
	s.tags(t, manifest.TagFile, "a,b:"+d.Encoded())
	r := newTestResolver(s, c)
	wantImage(t, r, "a", d, 3)
	wantImage(t, r, "b", d, 3)
	wantImage(t, r, d.Encoded(), d, 3)
	if got := s.count(manifest.ManifestFile(d)); got != 1 {
		t.Errorf("the manifest was read %d times for three tags, want 1", got)
	}
	image, _, err := r.Resolve(t.Context(), "a")
	must(t, err)
	image.Layers[0].File = "changed by the caller"
	if again, _, err := r.Resolve(t.Context(), "a"); err != nil || again.Layers[0].File == image.Layers[0].File {
		t.Errorf("a caller changed the cached image: %+v, %v", again, err)
	}
}

func TestResolveNoticesVanishedLayer(t *testing.T) {
	s, c := newStore(t), newClock()
	d := s.image(t, 2)
	s.tags(t, manifest.TagFile, "a:"+d.Encoded())
	r := newTestResolver(s, c)
	wantImage(t, r, "a", d, 2)
	layer := filepath.Join(s.dir, manifest.LayerFile(digest.FromString("layer 1")))
	must(t, os.Remove(layer))
	wantImage(t, r, "a", d, 2)
	c.forward(interval)
	for range 2 {
		if image, _, err := r.Resolve(t.Context(), "a"); !errors.Is(err, store.ErrLayerMissing) || image != nil {
			t.Errorf("%+v, %v, want %v", image, err, store.ErrLayerMissing)
		}
	}
	put(t, layer, "squashfs")
	wantImage(t, r, "a", d, 2)
}

func TestResolveWhileStoreIsAway(t *testing.T) {
	s, c := newStore(t), newClock()
	d := s.image(t, 1)
	s.tags(t, manifest.TagFile, "a:"+d.Encoded()+"\nother:"+hash("1"))
	r := newTestResolver(s, c)
	wantImage(t, r, "a", d, 1)
	s.away()
	c.forward(interval)
	image, a, err := r.Resolve(t.Context(), "a")
	if err != nil || image.ManifestDigest != d || !a.Stale || !errors.Is(a.Err, store.ErrUnavailable) {
		t.Errorf("%+v, %+v, %v, want a stale answer", image, a, err)
	}
	if _, _, err := r.Resolve(t.Context(), "other"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("image never read: %v, want %v", err, store.ErrUnavailable)
	}
	s.back()
	c.forward(retryInterval)
	wantImage(t, r, "a", d, 1)
}

func TestResolveErrors(t *testing.T) {
	s, c := newStore(t), newClock()
	d := s.image(t, 1)
	bad := sha("2")
	put(t, filepath.Join(s.dir, manifest.ManifestFile(bad)), "{}")
	s.tags(t, manifest.TagFile, fmt.Sprintf("a:%s\nbad:%s\nmissing:%s\n", d.Encoded(), bad.Encoded(), hash("3")))
	r := newTestResolver(s, c)
	for tag, want := range map[string]error{
		"bad":     manifest.ErrDigestMismatch,
		"missing": store.ErrManifestMissing,
		"unknown": ErrTagNotFound,
		hash("4"): store.ErrManifestMissing,
	} {
		if image, _, err := r.Resolve(t.Context(), tag); !errors.Is(err, want) || image != nil {
			t.Errorf("%s: %+v, %v, want %v", tag, image, err, want)
		}
	}
	r.opts.Verify = store.VerifyRequired
	if _, _, err := r.Resolve(t.Context(), "a"); !errors.Is(err, store.ErrUnverifiable) {
		t.Errorf("%v, want %v", err, store.ErrUnverifiable)
	}
}

func TestResolveKeepsTheImagesUsedLast(t *testing.T) {
	s, c := newStore(t), newClock()
	var digests []digest.Digest
	for layers := range 3 {
		digests = append(digests, s.image(t, layers+1))
	}
	r := newTestResolver(s, c) // keeps two
	for _, i := range []int{0, 1, 0, 2, 0, 1} {
		wantImage(t, r, digests[i].Encoded(), digests[i], i+1)
	}
	for i, want := range []int{1, 2, 1} {
		if got := s.count(manifest.ManifestFile(digests[i])); got != want {
			t.Errorf("image %d was read %d times, want %d", i, got, want)
		}
	}
}

func TestResolveSharesOneRead(t *testing.T) {
	s, c := newStore(t), newClock()
	d := s.image(t, 1)
	s.tags(t, manifest.TagFile, "a:"+d.Encoded())
	r := newTestResolver(s, c)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if image, _, err := r.Resolve(t.Context(), "a"); err != nil || image.ManifestDigest != d {
				t.Errorf("%+v, %v", image, err)
			}
		})
	}
	wg.Wait()
	if got := s.count(manifest.ManifestFile(d)); got != 1 {
		t.Errorf("the manifest was read %d times, want 1", got)
	}
}
