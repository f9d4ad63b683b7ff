package localizer

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// told notes the owners who lost what they held ahead.
type told struct {
	mu     sync.Mutex
	owners []string
}

// of returns what is to be called when an owner loses its files.
func (w *told) of(owner string) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.owners = append(w.owners, owner)
	}
}

func (w *told) want(t *testing.T, owners ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.owners, owners) {
		t.Errorf("told of %v, want %v", w.owners, owners)
	}
	w.owners = nil
}

// roomFor is a limit that n layers fit into, and no more.
func (s *site) roomFor(n int64) func(*Options) {
	return func(o *Options) {
		one := s.image.Layers[0].Squashfs.Size
		o.MaxBytes = n*one + one/2
	}
}

func (s *site) ahead(l *Localizer, w *told, owner string, image manifest.Image) {
	s.Helper()
	if err := l.LocalizeAhead(s.Context(), owner, image, nil, w.of(owner)); err != nil {
		s.Fatal(err)
	}
}

func TestAheadGivesWayToWorkers(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	var lost told
	l := s.localizer(nil, s.roomFor(3))
	s.ahead(l, &lost, "p0", images[0])
	s.ahead(l, &lost, "p1", images[1])
	// What nobody holds goes first, although it was used last.
	s.localize(l, "w", images[2])
	l.Release("w")
	s.localize(l, "w3", images[3])
	s.wantLayers(layers[0], layers[1], layers[3])
	lost.want(t)
	// Then what is held ahead, the least recently used first.
	s.localize(l, "w2", images[2])
	s.wantLayers(layers[1], layers[2], layers[3])
	lost.want(t, "p0")
	s.localize(l, "w4", images[4])
	s.wantLayers(layers[2], layers[3], layers[4])
	lost.want(t, "p1")
	// What workers hold stays.
	if _, err := l.Localize(t.Context(), "w0", images[0], nil); !errors.Is(err, ErrDiskFull) {
		t.Errorf("error %v, want ErrDiskFull", err)
	}
	s.wantLayers(layers[2], layers[3], layers[4])
}

func TestAheadIsUsedByWorkers(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	var lost told
	var store faultyStore
	l := s.localizer(&store, s.roomFor(2))
	s.ahead(l, &lost, "p0", images[0])
	s.ahead(l, &lost, "p1", images[1])
	before, _ := store.totals()
	s.localize(l, "w0", images[0])
	if after, _ := store.totals(); after != before {
		t.Errorf("the worker fetched %d bytes that were here", after-before)
	}
	// Held by a worker too, it is as safe as any.
	s.localize(l, "w2", images[2])
	s.wantLayers(layers[0], layers[2])
	lost.want(t, "p1")
	// A use by a worker counts for the order of eviction.
	l.Release("w2")
	s.ahead(l, &lost, "p1", images[1])
	l.Release("w0")
	s.localize(l, "w2", images[2])
	lost.want(t, "p1")
}

func TestAheadTakesNoRoom(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	two := manifest.Image{Tag: "two", Config: s.image.Config, Layers: layers[2:4]}
	for name, held := range map[string]func(l *Localizer, lost *told){
		"held by workers": func(l *Localizer, _ *told) {
			s.localize(l, "w0", images[0])
			s.localize(l, "w1", images[1])
		},
		"held ahead": func(l *Localizer, lost *told) {
			s.ahead(l, lost, "p0", images[0])
			s.ahead(l, lost, "p1", images[1])
		},
		// One of two layers would fit: it is not fetched in vain, and what
		// nobody holds is not deleted for it.
		"held, and idle": func(l *Localizer, _ *told) {
			s.localize(l, "w0", images[0])
			s.localize(l, "w1", images[1])
			l.Release("w1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{TB: t, store: s.store, cache: filepath.Join(t.TempDir(), "cache"), image: s.image}
			var lost told
			var store faultyStore
			l := s.localizer(&store, s.roomFor(2))
			held(l, &lost)
			before, _ := store.totals()
			err := l.LocalizeAhead(t.Context(), "p", two, nil, lost.of("p"))
			if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "stormcell.cache.max.bytes") {
				t.Errorf("error %v, want ErrDiskFull with its cure", err)
			}
			if after, _ := store.totals(); after != before {
				t.Errorf("%d bytes were fetched in vain", after-before)
			}
			s.wantLayers(layers[0], layers[1])
			lost.want(t)
		})
	}
}

func TestAheadMakesRoomOfWhatNobodyHolds(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	var lost told
	l := s.localizer(nil, s.roomFor(2))
	s.localize(l, "w0", images[0])
	s.localize(l, "w1", images[1])
	l.Release("w0")
	s.ahead(l, &lost, "p2", images[2])
	s.wantLayers(layers[1], layers[2])
	// An image that is not wanted any more is as idle as others.
	l.Release("p2")
	s.ahead(l, &lost, "p0", images[0])
	s.wantLayers(layers[0], layers[1])
	lost.want(t)
}

// TestAheadUnderWayGivesWay: the room that a fetch ahead of time has set aside
// is a worker's as soon as it needs it.
func TestAheadUnderWayGivesWay(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	reading := make(chan struct{})
	store := faultyStore{read: func(ctx context.Context, name string, _ int64) error {
		if name != layers[0].File {
			return nil
		}
		close(reading)
		<-ctx.Done()
		return ctx.Err()
	}}
	var lost told
	l := s.localizer(&store, s.roomFor(1))
	ended := make(chan error, 1)
	go func() { ended <- l.LocalizeAhead(t.Context(), "p", images[0], nil, lost.of("p")) }()
	<-reading
	s.localize(l, "w", images[1])
	if err := <-ended; !errors.Is(err, ErrEvicted) {
		t.Errorf("error %v, want ErrEvicted", err)
	}
	s.wantLayers(layers[1])
	s.wantAtRest(l)
	if len(l.cache.holds) != 1 {
		t.Errorf("left behind: holds %v", l.cache.holds)
	}
}

// TestWorkerJoinsAFetchAheadThatFindsNoRoom: the worker makes the room itself.
func TestWorkerJoinsAFetchAheadThatFindsNoRoom(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	opening, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	store := faultyStore{open: func(name string) error {
		if name == layers[2].File {
			once.Do(func() { close(opening) })
			<-goOn
		}
		return nil
	}}
	var lost told
	l := s.localizer(&store, s.roomFor(2))
	s.ahead(l, &lost, "p0", images[0])
	ahead, worker := make(chan error, 1), make(chan error, 1)
	go func() { ahead <- l.LocalizeAhead(t.Context(), "p2", images[2], nil, lost.of("p2")) }()
	<-opening
	s.localize(l, "w1", images[1]) // takes the room that was free
	var calls atomic.Int32
	joined := make(chan struct{})
	go func() {
		_, err := l.Localize(t.Context(), "w2", images[2], func(int64, int64) {
			if calls.Add(1) == 2 { // at the beginning, and when it joins
				close(joined)
			}
		})
		worker <- err
	}()
	<-joined
	close(goOn)
	if err := <-worker; err != nil {
		t.Errorf("the worker failed: %v", err)
	}
	if err := <-ahead; !errors.Is(err, ErrDiskFull) {
		t.Errorf("ahead of time: error %v, want ErrDiskFull", err)
	}
	s.wantLayers(layers[1], layers[2])
	lost.want(t, "p0")
}

// TestAheadIsSlow: a fetch ahead of time takes one of the places of fetching,
// and leaves the others to workers.
func TestAheadIsSlow(t *testing.T) {
	s := newSite(t, 1000, 1000, 1000, 1000)
	var now, most atomic.Int32
	store := faultyStore{open: func(string) error {
		most.Store(max(most.Load(), now.Add(1)))
		return nil
	}, read: func(context.Context, string, int64) error {
		now.Add(-1)
		return nil
	}}
	l := s.localizer(&store)
	var done, total int64
	var lost told
	s.ahead(l, &lost, "config first", manifest.Image{Tag: "one", Config: s.image.Config, Layers: s.image.Layers[:1]})
	now.Store(0)
	most.Store(0)
	if err := l.LocalizeAhead(t.Context(), "p", s.image, func(d, n int64) { done, total = d, n }, lost.of("p")); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 1 {
		t.Errorf("%d files side by side, want 1", most.Load())
	}
	if done != total || total != s.image.SquashfsBytes() {
		t.Errorf("progress ended at %d of %d bytes", done, total)
	}
	s.wantLayers(s.image.Layers...)
}

func TestAheadAfterARestart(t *testing.T) {
	s := newSite(t, 1000, 1000)
	var lost told
	s.ahead(s.localizer(nil), &lost, "p", s.image)
	var store faultyStore
	s.ahead(s.localizer(&store), &lost, "p", s.image)
	if bytes, opens := store.totals(); bytes > 0 || opens > 0 {
		t.Errorf("the store was opened %d times for what was here", opens)
	}
}

// TestAheadHoldOfAWorkerAfterARestart: what a worker of before runs from is
// its own, also when it was brought ahead.
func TestAheadHoldOfAWorkerAfterARestart(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10)
	images, layers := oneLayerImages(s), s.image.Layers
	var lost told
	l := s.localizer(nil, s.roomFor(1))
	s.ahead(l, &lost, "p", images[0])
	l.Hold("w", []digest.Digest{layers[0].Squashfs.Digest})
	if _, err := l.Localize(t.Context(), "other", images[1], nil); !errors.Is(err, ErrDiskFull) {
		t.Errorf("error %v, want ErrDiskFull", err)
	}
	s.wantLayers(layers[0])
	lost.want(t)
}
