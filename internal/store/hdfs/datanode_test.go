package hdfs_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// readers opens a file and reads the first megabyte of each of its blocks, so
// that a stream is in the middle of each.
func readers(t *testing.T, s *hdfs.Store, content []byte) store.File {
	t.Helper()
	f, err := s.Open(t.Context(), layer)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	for off := 0; off < len(content); off += blockSize {
		wantRead(t, f, content[:off+1<<20], off)
	}
	return f
}

// readOn reads on in each block.
func readOn(t *testing.T, f store.File, content []byte) {
	t.Helper()
	for off := 0; off < len(content); off += blockSize {
		wantRead(t, f, content[:off+blockSize], off+1<<20)
	}
}

func TestDataNodeDeath(t *testing.T) {
	s, _ := newStore(t)
	content := noise(4 * blockSize)
	put(t, s, layer, content)
	f := readers(t, s, content)
	// Which one serves a block is the NameNode's choice: two of three die.
	kill(t, cluster.DataNode1, cluster.DataNode2)
	readOn(t, f, content)
}

func TestHungDataNode(t *testing.T) {
	_, root := newStore(t)
	s := impatient(t, root)
	content := noise(4 * blockSize)
	put(t, s, layer, content)
	f := readers(t, s, content)
	hang(t, cluster.DataNode1, cluster.DataNode2)
	readOn(t, f, content)
}

// corrupt alters a byte in the middle of a replica.
func corrupt(t *testing.T, replica string) {
	t.Helper()
	f, err := os.OpenFile(replica, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	fi, err := f.Stat()
	check(t, err)
	p := make([]byte, 1)
	_, err = f.ReadAt(p, fi.Size()/2)
	check(t, err)
	p[0] ^= 1
	_, err = f.WriteAt(p, fi.Size()/2)
	check(t, err)
}

func TestCorruptReplica(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
	}{{"document", 3000}, {"layer", 2*blockSize + 12345}} {
		t.Run(c.name, func(t *testing.T) {
			s, root := newStore(t)
			content := noise(c.size)
			put(t, s, layer, content)
			blocks, err := hadoop.Blocks(root + "/" + layer)
			check(t, err)
			for _, b := range blocks {
				corrupt(t, b.Replicas[cluster.DataNode1])
				corrupt(t, b.Replicas[cluster.DataNode2])
			}
			got, err := s.ReadFile(t.Context(), layer, int64(c.size))
			if err != nil || string(got) != string(content) {
				t.Errorf("ReadFile: the content is wrong, or %v", err)
			}
			f, err := s.Open(t.Context(), layer)
			check(t, err)
			defer f.Close()
			wantRead(t, f, content, 0)
		})
	}
}

// lose removes all replicas of a block. Its file is removed at the end of the
// test: a NameNode that knows of a block and hears of no replica of it stays in
// safe mode when it starts.
func lose(t *testing.T, s *hdfs.Store, name string, block cluster.Block) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Remove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	for _, replica := range block.Replicas {
		check(t, os.Remove(replica))
	}
}

func TestAllReplicasGone(t *testing.T) {
	s, root := newStore(t)
	content := noise(2 * blockSize)
	put(t, s, layer, content)
	blocks, err := hadoop.Blocks(root + "/" + layer)
	check(t, err)
	lose(t, s, layer, blocks[1])
	f, err := s.Open(t.Context(), layer)
	check(t, err)
	defer f.Close()
	wantRead(t, f, content[:blockSize], 0)
	_, err = f.ReadAt(make([]byte, 1<<20), blockSize)
	if !errors.Is(err, hdfs.ErrNoReplica) || errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v, want %v, of a store that is there", err, hdfs.ErrNoReplica)
	}
	for _, part := range []string{root + "/" + layer, "block 1", blocks[1].Name} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
}

// A read ends with its context also while no DataNode answers.
func TestCancel(t *testing.T) {
	s, _ := newStore(t)
	content := noise(2 * blockSize)
	put(t, s, layer, content)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := s.Open(ctx, layer)
	check(t, err)
	defer f.Close()
	wantRead(t, f, content[:1<<20], 0)
	up, err := s.Create(ctx, "layers/other", store.CreateOptions{})
	check(t, err)
	defer up.Abort()
	_, err = up.Write(content[:1<<20])
	check(t, err)
	hang(t, cluster.DataNode1, cluster.DataNode2, cluster.DataNode3)
	ended := make(chan error, 3)
	go func() {
		_, err := f.ReadAt(make([]byte, len(content)-1<<20), 1<<20)
		ended <- err
	}()
	go func() { _, err := s.ReadFile(ctx, layer, int64(len(content))); ended <- err }()
	go func() {
		var err error
		for err == nil {
			_, err = up.Write(content)
		}
		ended <- err
	}()
	timer := time.AfterFunc(200*time.Millisecond, cancel)
	defer timer.Stop()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	}
	if err := up.Commit(); err == nil {
		t.Error("an upload that was cancelled could be committed")
	}
}
