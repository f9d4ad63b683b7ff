package hdfs_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// blockSize is that of the fixture's HDFS, in bytes.
const blockSize = 8 << 20

// layer is the name of the file that most tests write.
const layer = "layers/some.sqsh"

// noise is content that differs everywhere.
func noise(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(content)
	return content
}

func put(t *testing.T, s store.Writer, name string, content []byte) {
	t.Helper()
	up, err := s.Create(t.Context(), name, store.CreateOptions{})
	check(t, err)
	defer up.Abort()
	_, err = io.Copy(up, bytes.NewReader(content))
	check(t, err)
	check(t, up.Commit())
}

// wantRead fails the test unless the open file has want from off on.
func wantRead(t *testing.T, f store.File, want []byte, off int) {
	t.Helper()
	const piece = 1 << 20
	p := make([]byte, piece)
	for off < len(want) {
		n := min(piece, len(want)-off)
		m, err := f.ReadAt(p[:n], int64(off))
		if m != n || err != nil {
			t.Fatalf("at byte %d: read %d of %d bytes, %v", off, m, n, err)
		}
		if !bytes.Equal(p[:n], want[off:off+n]) {
			t.Fatalf("at byte %d: the bytes are not those that were written", off)
		}
		off += n
	}
}

// impatient returns the store at root with a configuration by which a node may
// be silent for no longer than a second.
func impatient(t *testing.T, root string) *hdfs.Store {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"core-site.xml", "hdfs-site.xml"} {
		content, err := os.ReadFile(filepath.Join(hadoop.ConfDir(), name))
		check(t, err)
		const end = "</configuration>"
		extra := "<property><name>dfs.client.socket-timeout</name><value>1000</value></property>"
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(string(content), end, extra+end, 1)), 0o644))
	}
	s, err := open(hadoop.URL(root), dir)
	check(t, err)
	return s
}

// active returns the names of the active NameNode and of the other one.
func active(t *testing.T) (active, other string) {
	t.Helper()
	state, err := hadoop.Admin("haadmin", "-getServiceState", "nn1")
	check(t, err)
	if strings.TrimSpace(state) == "active" {
		return cluster.NameNode1, cluster.NameNode2
	}
	return cluster.NameNode2, cluster.NameNode1
}

// kill kills daemons until the end of the test.
func kill(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		check(t, hadoop.StopDaemon(name, "KILL"))
	}
	t.Cleanup(func() {
		for _, name := range names {
			if err := hadoop.StartDaemon(name); err != nil {
				t.Error(err)
			}
		}
		serve(t)
	})
}

// serve waits until HDFS serves, with both of its NameNodes.
func serve(t *testing.T) {
	t.Helper()
	check(t, hadoop.Await())
	answer(t)
}

// answer waits until both NameNodes answer, whether or not one is active.
func answer(t *testing.T) {
	t.Helper()
	for _, id := range []string{"nn1", "nn2"} {
		for start := time.Now(); ; {
			_, err := hadoop.Admin("haadmin", "-getServiceState", id)
			if err == nil {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatal(err)
			}
		}
	}
}

// hang makes daemons accept connections and never answer. resume, which also
// the end of the test calls, wakes them.
func hang(t *testing.T, names ...string) (resume func()) {
	t.Helper()
	resume = func() {
		for _, name := range names {
			if err := hadoop.SignalDaemon(name, "CONT"); err != nil {
				t.Error(err)
			}
		}
		serve(t)
	}
	t.Cleanup(resume)
	for _, name := range names {
		check(t, hadoop.SignalDaemon(name, "STOP"))
	}
	return resume
}

// each calls every method of a store, for one file.
func each(ctx context.Context, s store.Writer) map[string]func() error {
	return map[string]func() error{
		"ReadFile":  func() error { _, err := s.ReadFile(ctx, layer, 10); return err },
		"Stat":      func() error { _, err := s.Stat(ctx, layer); return err },
		"Open":      func() error { _, err := s.Open(ctx, layer); return err },
		"Bootstrap": func() error { return s.Bootstrap(ctx) },
		"Create":    func() error { _, err := s.Create(ctx, layer, store.CreateOptions{}); return err },
		"Replace":   func() error { return s.Replace(ctx, layer, nil, nil, store.CreateOptions{}) },
		"Remove":    func() error { return s.Remove(ctx, layer) },
		"List":      func() error { _, err := s.List(ctx, "layers"); return err },
		"Chmod":     func() error { return s.Chmod(ctx, layer, 0o444) },
	}
}
