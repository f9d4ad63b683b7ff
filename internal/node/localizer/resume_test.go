package localizer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/store"
)

// inFlight is at most what one try may have read and not written.
const inFlight = segmentsPerFile * pieceSize

// TestResume lets a fetch end early in each way; the next one, by the same
// process or another, reads only what is missing.
func TestResume(t *testing.T) {
	s := newSite(t, 5*segmentSize/2)
	for name, end := range map[string]func(cancel func()) error{
		"its caller gives up":    func(cancel func()) error { cancel(); return nil },
		"the store goes away":    func(func()) error { return store.ErrUnavailable },
		"reading is not allowed": func(func()) error { return os.ErrPermission },
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
				s := &site{TB: t, store: s.store, cache: t.TempDir() + "/cache", image: s.image}
				s.resume(end, restarted)
			})
		}
	}
}

// resume lets a fetch end in the middle, and checks the next one.
func (s *site) resume(end func(cancel func()) error, restarted bool) {
	s.Helper()
	size := s.image.Layers[0].Squashfs.Size
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	store := new(faultyStore)
	store.read = func(context.Context, string, int64) error {
		if n, _ := store.totals(); n < size/2 {
			return nil
		}
		return end(cancel)
	}
	l := s.localizer(store)
	if _, err := l.Localize(ctx, "w", s.image, nil); err == nil {
		s.Fatal("the fetch did not end early")
	}
	s.wantAtRest(l)
	if got := s.files(); len(got) != 1 || !partialForm.MatchString("layers/"+got[0]) {
		s.Errorf("cache has %v, want a half-fetched layer", got)
	}
	store.read = nil
	if restarted {
		l = s.localizer(store)
	}
	s.localize(l, "w", s.image)
	s.wantLayers(s.image.Layers[0])
	if n, _ := store.totals(); n > size+inFlight {
		s.Errorf("%d bytes were read in two tries, want %d and at most %d that were under way", n, size, inFlight)
	}
}

// TestResumeWhatIsSpoilt has bytes in a half-fetched file that are not the
// store's: the whole file is fetched once more, and only once.
func TestResumeWhatIsSpoilt(t *testing.T) {
	base := newSite(t, segmentSize+100)
	layer := base.image.Layers[0]
	size := layer.Squashfs.Size
	altered := slices.Clone(base.get(layer.File))
	altered[size/2] ^= 1
	for name, c := range map[string]struct {
		partial, store []byte
		mode           os.FileMode
		want           error
		read           int64
	}{
		"spoilt":                         {altered, base.get(layer.File), 0o600, nil, size},
		"spoilt, and the store is, too":  {altered, altered, 0o600, ErrCorrupt, size},
		"whole":                          {base.get(layer.File), altered, 0o600, nil, 0},
		"whole, about to be published":   {base.get(layer.File), altered, 0o444, nil, 0},
		"whole, but open to others":      {base.get(layer.File), base.get(layer.File), 0o666, nil, size},
		"longer":                         {append(slices.Clone(altered), 0), base.get(layer.File), 0o600, nil, size},
		"shorter":                        {altered[:size-1], base.get(layer.File), 0o600, nil, size},
		"of the right size, and nothing": {nil, base.get(layer.File), 0o600, nil, size},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{TB: t, store: t.TempDir(), cache: t.TempDir() + "/cache", image: base.image}
			if err := os.CopyFS(s.store, os.DirFS(base.store)); err != nil {
				t.Fatal(err)
			}
			s.put(layer.File, c.store)
			s.localizer(nil) // makes the directories
			path := s.cache + "/" + partialName(layer.Squashfs.Digest)
			err := errors.Join(os.WriteFile(path, c.partial, 0o600), os.Chmod(path, c.mode))
			if c.partial == nil {
				err = errors.Join(err, os.Truncate(path, size))
			}
			if err != nil {
				t.Fatal(err)
			}
			store := new(faultyStore)
			l := s.localizer(store)
			var done int64
			local, err := l.Localize(t.Context(), "w", s.image, func(n, _ int64) { done = n })
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if n, _ := store.totals(); n != c.read {
				t.Errorf("%d bytes were read, want %d", n, c.read)
			}
			s.wantAtRest(l)
			if err != nil {
				s.wantLayers()
				return
			}
			s.check(local, s.image)
			s.wantLayers(layer)
			if done != size {
				t.Errorf("progress ended at %d of %d", done, size)
			}
		})
	}
}

// A segment is read by one reader from front to back, in a store where a jump
// costs a connection; and a failure costs no more than what is missing.
func TestSegmentsAreReadForwards(t *testing.T) {
	s := newSite(t, 7*segmentSize/2)
	size := s.image.Layers[0].Squashfs.Size
	var mu sync.Mutex
	ends := map[int64]bool{} // where a read has ended, and none has gone on
	var jumps, reading, most int
	failed := map[int64]bool{}
	store := &faultyStore{read: func(_ context.Context, _ string, off int64) error {
		mu.Lock()
		defer mu.Unlock()
		if !ends[off] {
			jumps++
			if reading++; reading > most {
				most = reading
			}
		}
		delete(ends, off)
		// Every third piece comes in two parts.
		if n := int64(pieceSize); off%(3*n) == 0 && !failed[off] {
			failed[off] = true
			ends[off+1000] = true
			return tornError(1000)
		}
		end := min(off/pieceSize*pieceSize+pieceSize, size)
		if end == size || end%segmentSize == 0 {
			reading--
		} else {
			ends[end] = true
		}
		return nil
	}}
	s.localize(s.localizer(store), "w", s.image)
	if jumps != 4 || len(ends) != 0 {
		t.Errorf("%d readings were begun for 4 segments, %d were not gone on with", jumps, len(ends))
	}
	if most > segmentsPerFile {
		t.Errorf("%d segments were read side by side, want at most %d", most, segmentsPerFile)
	}
	if n, _ := store.totals(); n != size {
		t.Errorf("%d bytes were read, the layer has %d", n, size)
	}
}

func TestHalfFetchedFilesCount(t *testing.T) {
	s := newSite(t, 3*segmentSize/2, segmentSize/2, segmentSize/2)
	images, layers := oneLayerImages(s), s.image.Layers
	half := func(t *testing.T, l *Localizer, store *faultyStore) {
		t.Helper()
		store.read = func(_ context.Context, name string, off int64) error {
			if name == layers[0].File && off == 4*pieceSize {
				return os.ErrPermission
			}
			return nil
		}
		if _, err := l.Localize(t.Context(), "w", images[0], nil); !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
		if got := s.files(); len(got) != 1 {
			t.Fatalf("cache has %v, want a half-fetched layer", got)
		}
	}
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			s.cache = t.TempDir() + "/cache"
			store := new(faultyStore)
			limited := func(o *Options) { o.MaxBytes = layers[0].Squashfs.Size + layers[1].Squashfs.Size + 1000 }
			l := s.localizer(store, limited)
			half(t, l, store)
			if restarted {
				l = s.localizer(store, limited)
			}
			// In the limit, at its full size; the oldest idle file.
			s.localize(l, "w", images[1])
			if got := s.files(); len(got) != 2 {
				t.Errorf("cache has %v, want the half-fetched layer, too", got)
			}
			s.localize(l, "w", images[2])
			s.wantLayers(layers[1], layers[2])
		})
	}
	t.Run("wanted again", func(t *testing.T) {
		s.cache = t.TempDir() + "/cache"
		store := new(faultyStore)
		l := s.localizer(store)
		half(t, l, store)
		l.cache.hold("w", layerName(layers[0].Squashfs.Digest))
		if freed := l.cache.evict(t.Context(), 1<<40); len(s.files()) != 1 {
			t.Errorf("evicted %d bytes of a layer that is to be fetched", freed)
		}
	})
	t.Run("too old", func(t *testing.T) {
		s.cache = t.TempDir() + "/cache"
		store := new(faultyStore)
		l := s.localizer(store)
		half(t, l, store)
		l.cache.expire(t.Context(), time.Now().Add(partialLife-time.Minute))
		if len(s.files()) != 1 {
			t.Error("a half-fetched layer was deleted within its time")
		}
		l.cache.expire(t.Context(), time.Now().Add(partialLife+time.Minute))
		s.wantLayers()
	})
}

// What another fetch of the same file has left must not be written by two.
func TestNewFetchWaitsForTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flights
		var running atomic.Int32
		slow := make(chan struct{})
		fetch := func(context.Context, func(int64)) error {
			if running.Add(1) > 1 {
				t.Error("two fetches of one file")
			}
			defer running.Add(-1)
			<-slow // takes no notice of being cancelled
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- g.do(ctx, "file", func(int64) {}, fetch) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		go func() { second <- g.do(t.Context(), "file", func(int64) {}, fetch) }()
		synctest.Wait()
		if running.Load() != 1 {
			t.Errorf("%d fetches, want the first one only", running.Load())
		}
		close(slow)
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("who came later got %v", err)
		}
	})
}

func TestErrorsNameWhatIsMissing(t *testing.T) {
	s := newSite(t, 1000)
	lost := errors.New("block blk_1073741825 of /containers/layers/x.sqsh: no replica left")
	store := &faultyStore{read: func(context.Context, string, int64) error { return lost }}
	_, err := s.localizer(store).Localize(t.Context(), "w", s.image, nil)
	for _, want := range []string{lost.Error(), s.image.Layers[0].File, s.image.Layers[0].Digest.String(), s.image.Tag} {
		if !errors.Is(err, lost) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
