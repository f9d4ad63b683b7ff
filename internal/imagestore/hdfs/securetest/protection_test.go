package securetest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"path"
	"sync"
	"testing"

	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/imagestore/hdfs"
	"github.com/stormcell/stormcell/internal/imagestore/storetest"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// bigSize is that of a file of several blocks, with an end in the middle of a
// checksum's chunk, in bytes.
const bigSize = 18<<20 + 77

// big is content that differs everywhere.
func big() []byte {
	content := make([]byte, bigSize)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(content)
	return content
}

const bigFile = "layers/big.sqsh"

func writeBig(t *testing.T, s *hdfs.Store) {
	t.Helper()
	up, err := s.Create(t.Context(), bigFile, imagestore.CreateOptions{})
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

// start starts an HDFS with a protection of RPC and data.
func start(t *testing.T, protection string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(cluster.Options{Secure: true, Protection: protection})
	check(t, err)
	t.Cleanup(func() { check(t, c.Stop()) })
	t.Setenv("KRB5_CONFIG", c.Krb5Conf())
	_, err = c.DFS("-chmod", "0777", "/")
	check(t, err)
	return c
}

// testProtection tests the store on an HDFS, and leaves the big file in it.
func testProtection(t *testing.T, c *cluster.Cluster) *hdfs.Store {
	t.Helper()
	t.Run("conformance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) imagestore.Writer {
			return openAt(t, c, path.Join("/", path.Base(t.Name())), storm(c))
		})
	})
	s := openAt(t, c, "/big", storm(c))
	check(t, s.Bootstrap(t.Context()))
	writeBig(t, s)
	wantBig(t, s)
	return s
}

func TestAuthentication(t *testing.T) { testProtection(t, hadoop) }

func TestIntegrity(t *testing.T) { testProtection(t, start(t, "integrity")) }

func TestPrivacy(t *testing.T) {
	c := start(t, "privacy")
	s := testProtection(t, c)
	// datanode1 encrypts by AES, the others by RC4.
	check(t, c.StopDaemon("datanode1", "KILL"))
	wantBig(t, s)
	check(t, c.StartDaemon("datanode1"))
	check(t, c.Await())
	check(t, c.StopDaemon("datanode2", "KILL"))
	check(t, c.StopDaemon("datanode3", "KILL"))
	wantBig(t, s)
}
