package securetest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/storetest"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// bigSize is that of a file of several blocks, with an end in the middle of a
// checksum's chunk, in bytes.
const bigSize = 9<<20 + 77

// big is content that differs everywhere.
func big() []byte {
	content := make([]byte, bigSize)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(content)
	return content
}

const bigFile = "layers/big.sqsh"

func writeBig(t *testing.T, s *hdfs.Store) {
	t.Helper()
	up, err := s.Create(t.Context(), bigFile, store.CreateOptions{})
	check(t, err)
	defer up.Abort()
	_, err = io.Copy(up, bytes.NewReader(big()))
	check(t, err)
	check(t, up.Commit())
}

// wantBig reads the big file in ranges side by side, in pieces whose size fits
// no frame, packet or chunk.
func wantBig(t *testing.T, s *hdfs.Store) {
	t.Helper()
	f, err := s.Open(t.Context(), bigFile)
	check(t, err)
	defer f.Close()
	if f.Size() != bigSize {
		t.Fatalf("%d bytes, want %d", f.Size(), bigSize)
	}
	const readers, piece = 4, 100_003
	got := make([]byte, bigSize)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			end := (i + 1) * bigSize / readers
			for off := i * bigSize / readers; off < end; off += piece {
				if _, err := f.ReadAt(got[off:min(off+piece, end)], int64(off)); err != nil {
					t.Errorf("at byte %d: %v", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if sha256.Sum256(got) != sha256.Sum256(big()) {
		t.Error("the bytes are not those that were written")
	}
}

// awaitReads waits until a DataNode that has just started gives files out.
func awaitReads(t *testing.T, s *hdfs.Store) {
	t.Helper()
	for start := time.Now(); ; {
		// This waits, too.
		_, err := s.ReadFile(t.Context(), manifest.TagFile, 10)
		if err == nil {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatal(err)
		}
	}
}

// start starts an HDFS with a protection of RPC and data.
func start(t *testing.T, protection string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(cluster.Options{Secure: true, Protection: protection})
	check(t, err)
	t.Cleanup(func() { check(t, c.Stop()) })
	t.Setenv("KRB5_CONFIG", c.Krb5Conf())
	return c
}

// testProtection writes, reads and replaces on an HDFS, and leaves the big file
// in the store.
func testProtection(t *testing.T, c *cluster.Cluster) *hdfs.Store {
	t.Helper()
	s := openAt(t, c, "/protected", as(c, cluster.Superuser))
	check(t, s.Bootstrap(t.Context()))
	writeBig(t, s)
	wantBig(t, s)
	for range 3 {
		check(t, storetest.Increment(t.Context(), s, manifest.TagFile))
	}
	if got, err := s.ReadFile(t.Context(), manifest.TagFile, 10); string(got) != "3" || err != nil {
		t.Errorf("%q, %v after three replaces, want 3", got, err)
	}
	return s
}

func TestAuthentication(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Writer {
		return open(t, path.Join("/", path.Base(t.Name())), storm())
	})
	testProtection(t, hadoop)
}

func TestIntegrity(t *testing.T) { testProtection(t, start(t, "integrity")) }

func TestPrivacy(t *testing.T) {
	c := start(t, "privacy")
	s := testProtection(t, c)
	// datanode1 encrypts by AES, the others by RC4.
	check(t, c.StopDaemon("datanode1", "KILL"))
	wantBig(t, s)
	check(t, c.StartDaemon("datanode1"))
	check(t, c.StopDaemon("datanode2", "KILL"))
	check(t, c.StopDaemon("datanode3", "KILL"))
	awaitReads(t, s)
	wantBig(t, s)
}

// A client takes no less than its configuration asks for.
func TestTooWeakProtection(t *testing.T) {
	s, root := newStore(t)
	writeBig(t, s)
	o := storm()
	o.ConfDir = t.TempDir()
	for _, name := range []string{"core-site.xml", "hdfs-site.xml"} {
		content, err := os.ReadFile(filepath.Join(hadoop.ConfDir(), name))
		check(t, err)
		content = bytes.ReplaceAll(content, []byte(">authentication<"), []byte(">privacy<"))
		check(t, os.WriteFile(filepath.Join(o.ConfDir, name), content, 0o600))
	}
	_, err := open(t, root, o).ReadFile(t.Context(), bigFile, bigSize)
	for _, part := range []string{bigFile, "DataNode 127.0.0.1:", `["auth"]`, "asks for privacy", "dfs.data.transfer.protection"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}
