package localizer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// notes is an Observer that adds up what it is told.
type notes struct {
	mu      sync.Mutex
	arrived int64
	fetches []error
	evicted []int64
}

func (n *notes) Arrived(bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.arrived += int64(bytes)
}

func (n *notes) FetchDone(_ time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fetches = append(n.fetches, err)
}

func (n *notes) Evicted(bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evicted = append(n.evicted, bytes)
}

// TestObserver: bytes count when they have come from the store, and a fetch
// that many share counts once.
func TestObserver(t *testing.T) {
	s := newSite(t, 100<<10, 100<<10)
	images, told, trouble := oneLayerImages(s), new(notes), errors.New("trouble")
	size := s.image.Layers[0].Squashfs.Size
	store := new(faultyStore)
	l := s.localizer(store, func(o *Options) { o.MaxBytes, o.Observer = size*3/2, told })

	store.read = func(context.Context, string, int64) error { return trouble }
	if _, err := l.Localize(t.Context(), "a", images[0], nil); !errors.Is(err, trouble) {
		t.Fatal(err)
	}
	store.read = nil
	s.localize(l, "a", images[0])
	s.localize(l, "again", images[0]) // it is here
	if len(told.fetches) != 2 || !errors.Is(told.fetches[0], trouble) || told.fetches[1] != nil {
		t.Errorf("fetches %v, want one that failed and one that did not", told.fetches)
	}
	if told.arrived != size {
		t.Errorf("%d bytes came, want %d", told.arrived, size)
	}
	if want := size + s.image.Config.Size; l.Size() != want {
		t.Errorf("the cache has %d bytes, want %d", l.Size(), want)
	}
	l.Release("a")
	l.Release("again")
	s.localize(l, "b", images[1])
	if len(told.evicted) != 1 || told.evicted[0] != size {
		t.Errorf("evicted %v, want %d bytes", told.evicted, size)
	}
}

// TestObserverOfAFetchThatIsGivenUp: nobody's failure.
func TestObserverOfAFetchThatIsGivenUp(t *testing.T) {
	s, told := newSite(t, 9<<20), new(notes)
	ctx, cancel := context.WithCancel(t.Context())
	store := &faultyStore{read: func(context.Context, string, int64) error { cancel(); return nil }}
	l := s.localizer(store, func(o *Options) { o.Observer = told })
	if _, err := l.Localize(ctx, "w", s.image, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(told.fetches) != 1 || !errors.Is(told.fetches[0], context.Canceled) {
		t.Errorf("fetches %v, want one that was canceled", told.fetches)
	}
}
