package hdfs_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/test/hdfs"
)

// start starts an HDFS for one test.
func start(t *testing.T, options hdfs.Options) *hdfs.Cluster {
	t.Helper()
	c, err := hdfs.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put puts a file of 10 MB, of two blocks, into HDFS and returns its content.
func put(t *testing.T, c *hdfs.Cluster, name string) []byte {
	t.Helper()
	content := make([]byte, 10_000_000)
	_, _ = rand.Read(content)
	local := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(local, content, 0o600))
	_, err := c.DFS("-put", local, name)
	check(t, err)
	return content
}

// mustHold fails the test unless a file of HDFS has this content.
func mustHold(t *testing.T, c *hdfs.Cluster, name string, want []byte) {
	t.Helper()
	local := filepath.Join(t.TempDir(), "copy")
	_, err := c.DFS("-get", name, local)
	check(t, err)
	got, err := os.ReadFile(local)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d that were put", name, len(got), len(want))
	}
}

func TestPlain(t *testing.T) {
	c := start(t, hdfs.Options{})
	content := put(t, c, "/file")
	mustHold(t, c, c.URL("file"), content)

	blocks, err := c.Blocks("/file")
	check(t, err)
	if len(blocks) != 2 || len(blocks[0].Replicas) != 3 {
		t.Fatalf("the file has the blocks %v, not two with three replicas each", blocks)
	}
	// A replica less does not matter, none at all does.
	check(t, os.Remove(blocks[1].Replicas[hdfs.DataNode1]))
	check(t, c.StopDaemon(hdfs.DataNode2, "KILL"))
	mustHold(t, c, "/file", content)
	check(t, os.Remove(blocks[1].Replicas[hdfs.DataNode3]))
	if _, err := c.DFS("-cat", "/file"); err == nil || !strings.Contains(err.Error(), blocks[1].Name) {
		t.Errorf("reading without %s on any DataNode: %v", blocks[1].Name, err)
	}
}

func TestPermissions(t *testing.T) {
	c := start(t, hdfs.Options{})
	if _, err := c.DFSAs("storm", "-mkdir", "/mine"); err == nil || !strings.Contains(err.Error(), "Permission denied: user=storm") {
		t.Errorf("a user made a directory in a root that is not theirs: %v", err)
	}
	check(t, c.SafeMode(true))
	if _, err := c.DFS("-mkdir", "/dir"); err == nil || !strings.Contains(err.Error(), "safe mode") {
		t.Errorf("a NameNode in safe mode made a directory: %v", err)
	}
	check(t, c.SafeMode(false))
	_, err := c.DFS("-mkdir", "/dir")
	check(t, err)
	check(t, c.StopDaemon(hdfs.NameNode1, "TERM"))
	check(t, c.StartDaemon(hdfs.NameNode1))
	check(t, c.Await())
	_, err = c.DFS("-ls", "/dir")
	check(t, err)
}

func TestHighAvailability(t *testing.T) {
	c := start(t, hdfs.Options{HA: true})
	content := put(t, c, "/file")
	check(t, c.Failover())
	mustHold(t, c, c.URL("/file"), content)
	// The active one is the second now: without it, the first takes over.
	check(t, c.StopDaemon(hdfs.NameNode2, "KILL"))
	check(t, c.Failover())
	mustHold(t, c, "hdfs://stormcell/file", content)
	_, err := c.DFS("-mkdir", "/dir")
	check(t, err)
}

func TestSecure(t *testing.T) {
	for _, protection := range []string{"authentication", "privacy"} {
		t.Run(protection, func(t *testing.T) {
			c := start(t, hdfs.Options{Secure: true, Protection: protection})
			content := put(t, c, "/file")
			mustHold(t, c, c.URL("/file"), content)
			_, err := c.DFSAs("storm", "-cat", "/file")
			check(t, err)
			mustRefuse(t, c, "storm", "Permission denied: user=storm")
			mustRefuse(t, c, "stranger", "Client cannot authenticate")
		})
	}
}

func TestSecureHighAvailability(t *testing.T) {
	c := start(t, hdfs.Options{HA: true, Secure: true, Protection: "integrity"})
	content := put(t, c, "/file")
	check(t, c.Failover())
	mustHold(t, c, c.URL("/file"), content)
	mustRefuse(t, c, "stranger", "Client cannot authenticate")
}

// mustRefuse fails the test unless HDFS refuses to let a user make a directory,
// with these words.
func mustRefuse(t *testing.T, c *hdfs.Cluster, user, words string) {
	t.Helper()
	if _, err := c.DFSAs(user, "-mkdir", "/theirs"); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("HDFS should refuse %s with %q: %v", user, words, err)
	}
}
