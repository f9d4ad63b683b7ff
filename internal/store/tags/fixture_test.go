package tags

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

const interval = time.Minute

// hash is a manifest's hash made of one hex digit.
func hash(digit string) string { return strings.Repeat(digit, 64) }

func sha(digit string) digest.Digest { return digest.Digest("sha256:" + hash(digit)) }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Add(time.Hour)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// store is a real store in a directory, with faults, that counts its reads.
type testStore struct {
	*localdir.Store
	dir string

	mu     sync.Mutex
	fault  error
	stuck  chan struct{} // not nil: answers come when it is closed
	reads  map[string]int
	asking chan struct{} // not nil: gets a token for each Stat
}

func newStore(t *testing.T) *testStore {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s := &testStore{Store: localdir.New(dir), dir: dir, reads: map[string]int{}}
	if err := s.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *testStore) set(change func(*testStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *testStore) state() (error, chan struct{}, chan struct{}) { //nolint:revive,staticcheck // three fields, no failure
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.stuck, s.asking
}

// away is a store that cannot be reached.
func (s *testStore) away() {
	s.set(func(s *testStore) { s.fault = fmt.Errorf("%w: connection refused", store.ErrUnavailable) })
}

func (s *testStore) back() { s.set(func(s *testStore) { s.fault = nil }) }

func (s *testStore) Stat(ctx context.Context, name string) (store.Info, error) {
	fault, stuck, asking := s.state()
	if asking != nil {
		asking <- struct{}{}
	}
	if stuck != nil {
		<-stuck
	}
	if fault != nil {
		return store.Info{}, fault
	}
	return s.Store.Stat(ctx, name)
}

func (s *testStore) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	fault, stuck, _ := s.state()
	if stuck != nil {
		<-stuck
	}
	if fault != nil {
		return nil, fault
	}
	s.set(func(s *testStore) { s.reads[name]++ })
	return s.Store.ReadFile(ctx, name, limit)
}

func (s *testStore) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[name]
}

// tags writes the tag file, with a time that differs from the one before.
func (s *testStore) tags(t *testing.T, name, content string) {
	t.Helper()
	p := filepath.Join(s.dir, name)
	at := time.Now()
	if fi, err := os.Stat(p); err == nil {
		at = fi.ModTime().Add(time.Second)
	}
	put(t, p, content)
	if err := os.Chtimes(p, at, at); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// image writes an image with this many layers and returns its manifest's digest.
func (s *testStore) image(t *testing.T, layers int) digest.Digest {
	t.Helper()
	config := `{"os":"linux"}`
	configDigest := digest.FromString(config)
	put(t, filepath.Join(s.dir, manifest.ConfigFile(configDigest)), config)
	var list []string
	for i := range layers {
		d := digest.FromString(fmt.Sprint("layer ", i))
		put(t, filepath.Join(s.dir, manifest.LayerFile(d)), "squashfs")
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"size":5,"digest":%q}`, manifest.MediaTypeOCILayerGzip, d))
	}
	doc := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"size":%d,"digest":%q},"layers":[%s]}`,
		manifest.MediaTypeOCIConfig, len(config), configDigest, strings.Join(list, ","))
	d := digest.FromString(doc)
	put(t, filepath.Join(s.dir, manifest.ManifestFile(d)), doc)
	return d
}
