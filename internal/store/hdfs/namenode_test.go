package hdfs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

func TestNameNodeFailover(t *testing.T) {
	s, _ := newStore(t)
	content := noise(3 * blockSize)
	put(t, s, layer, content)
	t.Run("between calls", func(t *testing.T) {
		check(t, hadoop.Failover())
		if info, err := s.Stat(t.Context(), layer); err != nil || info.Size != int64(len(content)) {
			t.Errorf("stat: %+v, %v", info, err)
		}
		put(t, s, "layers/after", []byte("x"))
	})
	t.Run("in the middle of a read", func(t *testing.T) {
		f, err := s.Open(t.Context(), layer)
		check(t, err)
		defer f.Close()
		wantRead(t, f, content[:1<<20], 0)
		working, _ := active(t)
		kill(t, working)
		check(t, hadoop.Failover())
		wantRead(t, f, content, 1<<20)
		// Here another stream has to ask for the places of the blocks.
		wantRead(t, f, content, blockSize/2)
	})
}

// The active NameNode hangs, and the other one takes over.
func TestHungNameNode(t *testing.T) {
	s, root := newStore(t)
	put(t, s, layer, []byte("x"))
	t.Run("another takes over", func(t *testing.T) {
		s := impatient(t, root)
		_, err := s.Stat(t.Context(), layer)
		check(t, err)
		working, other := active(t)
		check(t, hadoop.SignalDaemon(working, "STOP"))
		_, err = hadoop.Admin("haadmin", "-transitionToActive", "--forceactive", map[string]string{cluster.NameNode1: "nn1", cluster.NameNode2: "nn2"}[other])
		check(t, err)
		if _, err := s.Stat(t.Context(), layer); err != nil {
			t.Error(err)
		}
		// If it woke up, it would end itself, sooner or later.
		kill(t, working)
	})
	t.Run("every method ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		hang(t, cluster.NameNode1, cluster.NameNode2)
		ended := make(map[string]chan error)
		for name, call := range each(ctx, s) {
			c := make(chan error, 1)
			ended[name] = c
			go func() { c <- call() }()
		}
		timer := time.AfterFunc(200*time.Millisecond, cancel)
		defer timer.Stop()
		for name, c := range ended {
			if err := <-c; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want %v", name, err, context.Canceled)
			}
		}
	})
}

func TestSafeMode(t *testing.T) {
	s, _ := newStore(t)
	put(t, s, layer, []byte("x"))
	check(t, hadoop.SafeMode(true))
	defer func() { check(t, hadoop.SafeMode(false)) }()
	if got, err := s.ReadFile(t.Context(), layer, 10); err != nil || string(got) != "x" {
		t.Errorf("read in safe mode: %q, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.Replace(ctx, layer, []byte("x"), []byte("y"), store.CreateOptions{})
	if !errors.Is(err, hdfs.ErrSafeMode) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "safe mode") {
		t.Errorf("write in safe mode: %v, want %v", err, hdfs.ErrSafeMode)
	}
	check(t, hadoop.SafeMode(false))
	check(t, s.Replace(t.Context(), layer, []byte("x"), []byte("y"), store.CreateOptions{}))
}

func TestNameNodeAway(t *testing.T) {
	s, _ := newStore(t)
	content := noise(blockSize)
	put(t, s, layer, content)
	f, err := s.Open(t.Context(), layer)
	check(t, err)
	defer f.Close()
	wantRead(t, f, content[:1<<20], 0)
	both := []string{cluster.NameNode1, cluster.NameNode2}
	for _, name := range both {
		check(t, hadoop.StopDaemon(name, "KILL"))
	}
	// What is being read needs no NameNode.
	wantRead(t, f, content, 1<<20)
	_, err = s.ReadFile(t.Context(), layer, blockSize)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("%v, want %v with the NameNode's address", err, store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err = s.Stat(ctx, layer); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want %v", err, context.DeadlineExceeded)
	}
	for _, name := range both {
		check(t, hadoop.StartDaemon(name))
	}
	answer(t)
	check(t, hadoop.Failover())
	if got, err := s.ReadFile(t.Context(), layer, blockSize); err != nil || len(got) != len(content) {
		t.Errorf("once it is back: %d bytes, %v", len(got), err)
	}
}
