package diskusage

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWatcher: of two workers, the one beyond its limit is reported, with its run and what
// it takes up; one that cannot be measured holds up nobody.
func TestWatcher(t *testing.T) {
	began := time.Now()
	worker := func(uid string, size int, err error) Worker {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "x"), size)
		return Worker{
			UID: uid, StartedAt: began, Limit: LimitOf(1 << 20), Places: []Place{{"its directory", dir}},
			Pids: func() (map[int]bool, error) { return nil, err },
		}
	}
	all := []Worker{worker("unknown", 2<<20, errors.New("no cgroup")), worker("modest", 1<<19, nil), worker("greedy", 2<<20, nil)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type news struct{ uid, why string }
	exceeded := make(chan news, 100)
	w := NewWatcher(Options{
		Workers: func(context.Context) []Worker { return all },
		Exceeded: func(w Worker, why string) {
			if !w.StartedAt.Equal(began) {
				t.Errorf("of another run: %v", w.StartedAt)
			}
			exceeded <- news{w.UID, why}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	if n := <-exceeded; n.uid != "greedy" || !strings.Contains(n.why, "its directory: 2 MiB in 1 files") {
		t.Errorf("%+v", n)
	}
	cancel()
	check(t, <-ended)
	if s, ok := w.Usage("modest"); !ok || s.Bytes < 1<<19 || s.Limit.Bytes != 1<<20 {
		t.Errorf("%+v, %t", s, ok)
	}
	if _, ok := w.Usage("unknown"); ok {
		t.Error("measured without its processes")
	}
}
