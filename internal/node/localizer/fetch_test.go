package localizer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestTransientErrorsAreRetried(t *testing.T) {
	s := newSite(t, 9<<20)
	flaky := errors.New("connection reset")
	var mu sync.Mutex
	failures := map[string]int{}
	// Each call fails twice before it succeeds.
	fail := func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		if failures[call]++; failures[call] <= 2 {
			return flaky
		}
		return nil
	}
	store := &faultyStore{
		open: func(name string) error {
			if strings.HasPrefix(name, "config/") {
				return fail(name)
			}
			return nil
		},
		read: func(_ context.Context, name string, off int64) error { return fail(fmt.Sprint(name, off)) },
	}
	s.localize(s.localizer(store), "w", s.image)
	if n, _ := store.totals(); n != s.image.SquashfsBytes() {
		t.Errorf("%d bytes were read, want %d: only what failed is read again", n, s.image.SquashfsBytes())
	}

	s = newSite(t, 1000)
	dead := &faultyStore{read: func(context.Context, string, int64) error { return flaky }}
	l := s.localizer(dead)
	var waits atomic.Int32
	l.wait = func(context.Context, time.Duration) error { waits.Add(1); return nil }
	if _, err := l.Localize(t.Context(), "w", s.image, nil); !errors.Is(err, flaky) {
		t.Errorf("error %v, want the store's", err)
	}
	if waits.Load() != tries-1 {
		t.Errorf("%d pauses, want %d", waits.Load(), tries-1)
	}
	s.wantLayers()
}

func TestLastingErrorsAreNotRetried(t *testing.T) {
	s := newSite(t, 1000)
	refuse := &faultyStore{open: func(name string) error {
		if strings.HasPrefix(name, "layers/") {
			return fs.ErrPermission
		}
		return nil
	}}
	l := s.localizer(refuse)
	l.wait = func(context.Context, time.Duration) error { t.Error("paused for what lasts"); return nil }
	if _, err := l.Localize(t.Context(), "w", s.image, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want fs.ErrPermission", err)
	}
}

func TestPause(t *testing.T) {
	for i, want := range []time.Duration{200, 400, 800, 1600} {
		want *= time.Millisecond
		for range 100 {
			if got := pauses.Pause(i + 1); got > want || got < want/2 {
				t.Errorf("pause %d: %v, want %v or down to half of it", i+1, got, want)
			}
		}
		exact := pauses
		exact.Jitter = 0
		if got := exact.Pause(i + 1); got != want {
			t.Errorf("pause %d without jitter: %v, want %v", i+1, got, want)
		}
	}
}

func TestOneFetchForAll(t *testing.T) {
	s := newSite(t, 9<<20, 3000)
	var store faultyStore
	l := s.localizer(&store)
	var group sync.WaitGroup
	for _, owner := range []string{"a", "b", "c", "d", "e", "f"} {
		group.Go(func() {
			var last int64
			local, err := l.Localize(t.Context(), owner, s.image, func(done, _ int64) { last = done })
			if err != nil {
				t.Error(err)
				return
			}
			s.check(local, s.image)
			if last != s.image.SquashfsBytes() {
				t.Errorf("%s: progress ended at %d of %d", owner, last, s.image.SquashfsBytes())
			}
		})
	}
	group.Wait()
	if n, opens := store.totals(); n != s.image.SquashfsBytes() || opens != 3 {
		t.Errorf("%d bytes of %d files were read, want %d of 3", n, opens, s.image.SquashfsBytes())
	}
}

// gate lets reads of layers wait until it is opened.
type gate struct {
	reached chan struct{} // gets a value for each read that waits
	open    chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) read(ctx context.Context, _ string, _ int64) error {
	g.reached <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestCancellation(t *testing.T) {
	s := newSite(t, 9<<20)
	g := newGate()
	store := &faultyStore{read: g.read}
	l := s.localizer(store)
	ctx, cancel := context.WithCancel(t.Context())
	results := map[string]chan error{"gives up": make(chan error, 1), "stays": make(chan error, 1)}
	localize := func(ctx context.Context, owner string) {
		go func() {
			_, err := l.Localize(ctx, owner, s.image, nil)
			results[owner] <- err
		}()
	}
	// The one who gives up is the one who began.
	localize(ctx, "gives up")
	<-g.reached
	localize(t.Context(), "stays")
	waitFor(t, func() bool { return callers(l, flightKey(s.image.Layers[0])) == 2 })
	cancel()
	if err := <-results["gives up"]; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(g.open)
	if err := <-results["stays"]; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	if n, _ := store.totals(); n != s.image.SquashfsBytes() {
		t.Errorf("%d bytes were read, want %d", n, s.image.SquashfsBytes())
	}
	s.wantLayers(s.image.Layers...)
	if got := l.cache.held("gives up"); len(got) != 0 {
		t.Errorf("who gave up holds %v", got)
	}
}

func TestCancellationByTheLast(t *testing.T) {
	s := newSite(t, 9<<20)
	ctx, cancel := context.WithCancel(t.Context())
	store := &faultyStore{read: func(context.Context, string, int64) error { cancel(); return nil }}
	l := s.localizer(store)
	if _, err := l.Localize(ctx, "w", s.image, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	// Nothing goes on when it returns.
	s.wantAtRest(l)
	store.read = nil
	s.localize(l, "w", s.image)
}

// callers returns how many wait for a fetch.
func callers(l *Localizer, key string) int {
	l.flights.mu.Lock()
	defer l.flights.mu.Unlock()
	if f := l.flights.active[key]; f != nil {
		return len(f.callers)
	}
	return 0
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("condition never came true")
		}
		<-time.After(time.Millisecond)
	}
}

func TestCutShortWhileRead(t *testing.T) {
	s := newSite(t, 9<<20)
	layer := s.image.Layers[0]
	var once sync.Once
	store := &faultyStore{read: func(context.Context, string, int64) error {
		var err error
		once.Do(func() { err = os.Truncate(filepath.Join(s.store, layer.File), 100) })
		return err
	}}
	_, err := s.localizer(store).Localize(t.Context(), "w", s.image, nil)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
	s.wantLayers()
}
