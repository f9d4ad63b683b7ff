package hdfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// sockets counts the open sockets of this process.
func sockets(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// wantNoSockets waits until all connections are closed.
func wantNoSockets(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); sockets(t) > 0; <-tick.C {
		if time.Since(start) > time.Minute {
			t.Fatalf("%d sockets are still open", sockets(t))
		}
	}
}

// A store that nobody uses costs nobody anything, and is there when it is used
// again; also where a file was left open.
func TestIdleClientCloses(t *testing.T) {
	s, _ := newStore(t)
	content := noise(2 << 20)
	put(t, s, layer, content)
	f, err := s.Open(t.Context(), layer)
	check(t, err)
	defer f.Close()
	wantRead(t, f, content[:1<<20], 0)
	if sockets(t) == 0 {
		t.Error("no connection is kept for the next read")
	}
	wantNoSockets(t)
	wantRead(t, f, content, 1<<20)
	_, err = s.Stat(t.Context(), layer)
	check(t, err)
}

func TestNoConnectionIsLeaked(t *testing.T) {
	s, root := newStore(t)
	content := noise(3 << 20)
	put(t, s, layer, content)
	put(t, s, "layers/lost", content)
	blocks, err := hadoop.Blocks(root + "/" + layer)
	check(t, err)
	corrupt(t, blocks[0].Replicas[cluster.DataNode1])
	corrupt(t, blocks[0].Replicas[cluster.DataNode2])
	lost, err := hadoop.Blocks(root + "/layers/lost")
	check(t, err)
	lose(t, s, "layers/lost", lost[0])
	for range 3 {
		_, err := s.ReadFile(t.Context(), layer, 1<<30)
		check(t, err)
		up, err := s.Create(t.Context(), layer, store.CreateOptions{})
		check(t, err)
		_, err = up.Write(content)
		check(t, err)
		up.Abort()
		if err := s.Replace(t.Context(), manifest.TagFile, []byte("wrong"), nil, store.CreateOptions{}); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%v, want %v", err, store.ErrChanged)
		}
	}
	if _, err := s.ReadFile(t.Context(), "layers/lost", 1<<30); !errors.Is(err, hdfs.ErrNoReplica) {
		t.Errorf("%v, want %v", err, hdfs.ErrNoReplica)
	}
	wantNoSockets(t)
}

// A reader that jumps takes a stream that was left, which knows the file's
// blocks: no NameNode is asked again.
func TestJumpTakesALeftStream(t *testing.T) {
	s, _ := newStore(t)
	content := noise(4 * blockSize)
	put(t, s, layer, content)
	f, err := s.Open(t.Context(), layer)
	check(t, err)
	defer f.Close()
	later := time.NewTicker(2 * hdfs.Left)
	defer later.Stop()
	for _, block := range []int{0, 2, 1, 3, 0} {
		off := block * blockSize
		wantRead(t, f, content[:off+1<<20], off)
		<-later.C
	}
	if n := hdfs.IdleStreams(f); n != 1 {
		t.Errorf("%d streams for one reader", n)
	}
}
