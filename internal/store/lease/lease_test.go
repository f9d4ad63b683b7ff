package lease

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
)

func newStore(t *testing.T) (*localdir.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store := localdir.New(dir)
	if err := store.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func lockFile(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestOneAtATime(t *testing.T) {
	store, dir := newStore(t)
	var inside, runs atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := Do(t.Context(), store, nil, func(l *Lease) error {
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				defer inside.Add(-1)
				runs.Add(1)
				return l.Act(t.Context(), func(context.Context) error { return nil })
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs.Load() != 8 || lockFile(t, dir) != "" {
		t.Errorf("%d runs, then the lock is %q", runs.Load(), lockFile(t, dir))
	}
}

// hold makes the lock that of a process.
func hold(t *testing.T, store store.Writer, h holder) {
	t.Helper()
	content, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	old, err := read(t.Context(), store)
	if err == nil {
		err = store.Replace(t.Context(), File, old, content, options)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestADeadHolderIsNotWaitedFor(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	me := self()
	for name, change := range map[string]func(h *holder){
		"that has ended":                func(h *holder) { h.PID = ended.Process.Pid },
		"whose number is now another's": func(h *holder) { h.Started = "1" },
	} {
		t.Run(name, func(t *testing.T) {
			store, _ := newStore(t)
			h := me
			change(&h)
			hold(t, store, h)
			waited := func(string) { t.Error("it is waited for") }
			if err := Do(t.Context(), store, waited, func(*Lease) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestASilentHolderExpires waits for a holder on another machine, by a clock
// that is not real.
func TestASilentHolderExpires(t *testing.T) {
	store, _ := newStore(t)
	hold(t, store, holder{ID: "x", Host: "elsewhere", PID: 7})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var who string
		err := Do(t.Context(), store, func(holder string) { who = holder }, func(*Lease) error { return nil })
		if err != nil || !strings.Contains(who, "elsewhere") {
			t.Errorf("%v, waited for %q", err, who)
		}
		if waited := time.Since(began); waited < Expiry || waited > Expiry+2*poll {
			t.Errorf("waited for %v", waited)
		}
	})
}

func TestARenewedLockDoesNotExpire(t *testing.T) {
	alive := func(renewal int) []byte {
		content, err := json.Marshal(holder{ID: "x", Renewal: renewal})
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	var w watch
	now := time.Unix(0, 0)
	for i := range 10 {
		if !w.taken(alive(i), now) {
			t.Errorf("renewal %d is not seen", i)
		}
		now = now.Add(Expiry - 1)
	}
	if now = now.Add(1); w.taken(alive(9), now) {
		t.Error("it never expires")
	}
}

// TestAHolderThatWasStoppedActsNoMore takes the lock over while its holder
// does nothing for long.
func TestAHolderThatWasStoppedActsNoMore(t *testing.T) {
	store, dir := newStore(t)
	thief := holder{ID: "thief", Host: "elsewhere", PID: 7}
	synctest.Test(t, func(t *testing.T) {
		err := Do(t.Context(), store, nil, func(l *Lease) error {
			time.Sleep(Expiry)
			hold(t, store, thief)
			return l.Act(t.Context(), func(context.Context) error {
				t.Error("it acts without the lock")
				return nil
			})
		})
		if !errors.Is(err, ErrLost) {
			t.Error(err)
		}
	})
	if !strings.Contains(lockFile(t, dir), "thief") {
		t.Errorf("the new holder's lock is %q", lockFile(t, dir))
	}
}

func TestALongRunKeepsItsLock(t *testing.T) {
	store, _ := newStore(t)
	synctest.Test(t, func(t *testing.T) {
		var seen watch
		err := Do(t.Context(), store, nil, func(l *Lease) error {
			for range 20 {
				time.Sleep(Expiry / 3)
				act := func(context.Context) error { return nil }
				if err := l.Act(t.Context(), act); err != nil {
					return err
				}
				content, err := read(t.Context(), store)
				if err != nil || !seen.taken(content, time.Now()) {
					t.Errorf("%v, or others think it has expired", err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestNonsenseInTheLockExpires(t *testing.T) {
	store, dir := newStore(t)
	if err := os.WriteFile(filepath.Join(dir, File), []byte("{nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if err := Do(t.Context(), store, nil, func(*Lease) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestAnEndedContextGivesTheLockBack(t *testing.T) {
	store, dir := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := Do(ctx, store, nil, func(*Lease) error {
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || lockFile(t, dir) != "" {
		t.Errorf("%v, the lock is %q", err, lockFile(t, dir))
	}
	hold(t, store, holder{ID: "x", Host: "elsewhere", PID: 7})
	if err := Do(ctx, store, nil, func(*Lease) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
