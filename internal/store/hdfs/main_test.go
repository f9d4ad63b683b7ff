package hdfs_test

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/storetest"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// hadoop is the HDFS of this package's tests: two NameNodes, three DataNodes.
var hadoop *cluster.Cluster

// When this binary runs as a child of a test, it works on the store childURL
// with the configuration of childConf.
const (
	childURL  = "STORMCELL_TEST_STORE"
	childConf = "STORMCELL_TEST_CONF"
	// childRounds is how often it counts.
	childRounds = "STORMCELL_TEST_ROUNDS"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := child(url, os.Getenv(childConf)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cluster.Main(m, cluster.Options{HA: true}, func(c *cluster.Cluster) { hadoop = c }))
}

// child counts in a store's tag file.
func child(url, confDir string) error {
	s, err := open(url, confDir)
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(os.Getenv(childRounds))
	if err != nil {
		return err
	}
	for range rounds {
		if err := storetest.Increment(context.Background(), s, manifest.TagFile); err != nil {
			return err
		}
		fmt.Println("counted")
	}
	return nil
}

func open(url, confDir string) (*hdfs.Store, error) {
	a, err := store.ParseAddress(url)
	if err != nil {
		return nil, err
	}
	return hdfs.New(a, hdfs.Options{ConfDir: confDir})
}

var stores atomic.Int32

// newRoot returns the path of a store that is not there yet.
func newRoot(t *testing.T) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, t.Name())
	return path.Join("/", fmt.Sprint(name, stores.Add(1)), "store")
}

func at(t *testing.T, root string) *hdfs.Store {
	t.Helper()
	s, err := open(hadoop.URL(root), hadoop.ConfDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newStore returns an empty store and the path of its root.
func newStore(t *testing.T) (*hdfs.Store, string) {
	t.Helper()
	root := newRoot(t)
	s := at(t, root)
	check(t, s.Bootstrap(t.Context()))
	return s, root
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Writer { return at(t, newRoot(t)) })
}
