package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// watched is a running watcher of dir/storm.yaml and what it told.
type watched struct {
	*Watcher
	dir, path string
	changes   <-chan struct{}
	reloaded  chan *Config
	failed    chan error
	refusal   atomic.Pointer[error] // what Accept returns
}

// watch starts a watcher of a file that prepare has made.
func watch(t *testing.T, every time.Duration, prepare func(dir, path string)) *watched {
	t.Helper()
	w := &watched{dir: t.TempDir(), reloaded: make(chan *Config, 10), failed: make(chan error, 10)}
	w.path = filepath.Join(w.dir, "storm.yaml")
	prepare(w.dir, w.path)
	conf, _, err := Load(w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.Watcher = NewWatcher(w.path, conf, WatchOptions{
		Every: every,
		Accept: func(*Config) error {
			if err := w.refusal.Load(); err != nil {
				return *err
			}
			return nil
		},
		Reloaded: func(c *Config, _ []string) { w.reloaded <- c },
		Failed:   func(err error) { w.failed <- err },
	})
	w.changes = w.Changes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

const patience = 10 * time.Second

func next[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("no %s within %s", what, patience)
	}
	return v
}

func (w *watched) wantImage(t *testing.T, want string) {
	t.Helper()
	next(t, "change", w.changes)
	if got := next(t, "call of Reloaded", w.reloaded); got != w.Current() || got.Images.Default != want {
		t.Errorf("told of %q, current is %q, want %q", got.Images.Default, w.Current().Images.Default, want)
	}
}

func withImage(image string) string { return least + "storm.oci.image: " + image + "\n" }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestWatcherHearsOfChanges(t *testing.T) {
	w := watch(t, time.Hour, func(_, path string) { write(t, path, withImage("a")) })
	if got := w.Current().Images.Default; got != "a" {
		t.Errorf("begins with %q", got)
	}
	replaceFile(t, w.path, withImage("b"))
	w.wantImage(t, "b")
	write(t, w.path, withImage("c"))
	w.wantImage(t, "c")
	select {
	case <-w.changes:
		t.Error("a change too many")
	default:
	}
}

// kubelet swaps the link ..data; the file itself is a link into it.
func TestWatcherHearsOfConfigMap(t *testing.T) {
	generation := func(dir, name, image string) {
		data := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(data, 0o755), os.Symlink(name, filepath.Join(dir, "..data_tmp"))); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(data, "storm.yaml"), withImage(image))
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(t, time.Hour, func(dir, path string) {
		generation(dir, "..1", "a")
		if err := os.Symlink("..data/storm.yaml", path); err != nil {
			t.Fatal(err)
		}
	})
	generation(w.dir, "..2", "b")
	w.wantImage(t, "b")
}

// Nothing happens in the watched directory when a link's target changes.
func TestWatcherChecksAtIntervals(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target.yaml")
	w := watch(t, 10*time.Millisecond, func(_, path string) {
		write(t, target, withImage("a"))
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	})
	replaceFile(t, target, withImage("b"))
	w.wantImage(t, "b")
}

func TestWatcherNoticesChangeBeforeRun(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "storm.yaml")
	write(t, path, withImage("a"))
	conf, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWatcher(path, conf, WatchOptions{Every: time.Hour})
	changes := w.Changes()
	write(t, path, withImage("b"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	next(t, "change", changes)
	if got := w.Current().Images.Default; got != "b" {
		t.Errorf("%q, want b", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What a configuration refers to can be put right without touching the file.
func TestWatcherAsksAgainForWhatWasRefused(t *testing.T) {
	w := watch(t, 10*time.Millisecond, func(_, path string) { write(t, path, withImage("a")) })
	refusal := errors.New("no such profile")
	w.refusal.Store(&refusal)
	replaceFile(t, w.path, withImage("b"))
	if err := next(t, "failure", w.failed); !errors.Is(err, refusal) || !strings.Contains(err.Error(), "stays in use") {
		t.Errorf("%v, want the refusal and what counts now", err)
	}
	if got := w.Current().Images.Default; got != "a" {
		t.Errorf("%q took force", got)
	}
	w.refusal.Store(nil)
	w.wantImage(t, "b")
	if len(w.failed) != 0 {
		t.Error("the same refusal was told again")
	}
}

func TestWatcherKeepsTheLastGoodConfiguration(t *testing.T) {
	w := watch(t, 10*time.Millisecond, func(_, path string) { write(t, path, withImage("a")) })
	first := w.Current()

	replaceFile(t, w.path, "storm.oci.imgae: x\n")
	err := next(t, "failure", w.failed)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "storm.oci.imgae") || !strings.Contains(err.Error(), "stays in use") {
		t.Errorf("%v, want the key at fault and what counts now", err)
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	if err := next(t, "failure", w.failed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removed: %v, want %v", err, os.ErrNotExist)
	}
	if w.Current() != first {
		t.Error("a bad file took force")
	}
	// Good again, though nothing has changed: Reloaded tells, Changes does not.
	replaceFile(t, w.path, withImage("a"))
	next(t, "call of Reloaded", w.reloaded)
	replaceFile(t, w.path, withImage("b"))
	w.wantImage(t, "b")
	// By then the watcher has looked at the bad states many times.
	if len(w.failed) > 0 {
		t.Errorf("told again: %v", <-w.failed)
	}
}
