package localizer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// site is a store with one image, and a place for a cache.
type site struct {
	testing.TB
	store, cache string
	image        manifest.Image
}

// newSite makes an image with a layer of each given size in bytes, by the
// real mksquashfs.
func newSite(t testing.TB, sizes ...int) *site {
	t.Helper()
	s := &site{TB: t, store: t.TempDir(), cache: filepath.Join(t.TempDir(), "cache")}
	if err := localdir.New(s.store).Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Entrypoint":["/e"]},"rootfs":{}}`)
	s.image = manifest.Image{Tag: "demo", Config: manifest.Blob{Digest: digest.FromBytes(config), Size: int64(len(config))}}
	s.put(manifest.ConfigFile(s.image.Config.Digest), config)
	for i, size := range sizes {
		s.image.Layers = append(s.image.Layers, s.addLayer(fmt.Sprintf("archive %d of %s", i, t.Name()), size))
	}
	return s
}

// addLayer puts a layer with size bytes of noise into the store.
func (s *site) addLayer(archive string, size int) manifest.Layer {
	s.Helper()
	content := squash(s, size)
	l := manifest.Layer{Digest: digest.FromString(archive), Size: 1}
	l.File = manifest.LayerFile(l.Digest)
	l.Squashfs = manifest.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	s.put(l.File, content)
	return l
}

func squash(t testing.TB, size int) []byte {
	t.Helper()
	noise := make([]byte, size)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	src, out := t.TempDir(), filepath.Join(t.TempDir(), "out.sqsh")
	if err := os.WriteFile(src+"/noise", noise, 0o644); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.CommandContext(t.Context(), "mksquashfs", src, out, "-quiet", "-no-progress", "-noD").CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, msg)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (s *site) put(name string, content []byte) {
	s.Helper()
	path := filepath.Join(s.store, name)
	if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, content, 0o644)); err != nil {
		s.Fatal(err)
	}
}

// makeDir puts a directory in the place of a file.
func (s *site) makeDir(name string) {
	s.Helper()
	path := filepath.Join(s.store, name)
	if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o755)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) get(name string) []byte {
	s.Helper()
	content, err := os.ReadFile(filepath.Join(s.store, name))
	if err != nil {
		s.Fatal(err)
	}
	return content
}

// localizer returns a recovered one that reads the site's store through
// faults, which may be nil. Its pauses take no time.
func (s *site) localizer(faults *faultyStore, change ...func(*Options)) *Localizer {
	s.Helper()
	opts := Options{Store: localdir.New(s.store), Dir: s.cache, Verify: store.VerifyIfPresent}
	if faults != nil {
		faults.Reader = opts.Store
		opts.Store = faults
	}
	for _, c := range change {
		c(&opts)
	}
	l := New(opts)
	l.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	if err := l.Recover(s.Context()); err != nil {
		s.Fatalf("recover: %v", err)
	}
	return l
}

// localize must succeed, with files that are what they should be.
func (s *site) localize(l *Localizer, owner string, image manifest.Image) *manifest.LocalImage {
	s.Helper()
	local, err := l.Localize(s.Context(), owner, image, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.check(local, image)
	return local
}

func (s *site) check(local *manifest.LocalImage, image manifest.Image) {
	s.Helper()
	if !slices.Equal(local.Config.Env, []string{"A=b"}) || !slices.Equal(local.Config.Entrypoint, []string{"/e"}) {
		s.Errorf("config is %+v", local.Config)
	}
	if len(local.Layers) != len(image.Layers) {
		s.Fatalf("%d layers, want %d", len(local.Layers), len(image.Layers))
	}
	for i, l := range local.Layers {
		content, err := os.ReadFile(l.Path)
		if err != nil {
			s.Error(err)
			continue
		}
		if got := digest.FromBytes(content); got != l.Digest || int64(len(content)) != image.Layers[i].Squashfs.Size {
			s.Errorf("layer %d says %s, its file has %d bytes with %s", i, l.Digest, len(content), got)
		}
		if want := image.Layers[i].Squashfs.Digest; want != "" && l.Digest != want {
			s.Errorf("layer %d is %s, want %s", i, l.Digest, want)
		}
		if fi, err := os.Stat(l.Path); err != nil || fi.Mode() != 0o444 {
			s.Errorf("layer %d: mode %v (error %v), want 0444", i, fi.Mode(), err)
		}
	}
}

// files returns what lies in the cache's folder of layers.
func (s *site) files() []string {
	s.Helper()
	entries, err := os.ReadDir(filepath.Join(s.cache, "layers"))
	if err != nil {
		s.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantAtRest checks that nothing is being fetched, and nothing of it is left in
// memory.
func (s *site) wantAtRest(l *Localizer) {
	s.Helper()
	if n := len(l.flights.active); n != 0 {
		s.Errorf("%d fetches are under way", n)
	}
	for name, e := range l.cache.entries {
		if e.busy {
			s.Errorf("%s is being written", name)
		}
	}
	for what, semaphore := range map[string]struct {
		*semaphore.Weighted
		size int64
	}{"layers": {l.layers, parallelLayers}, "segments": {l.segments, parallelSegments}} {
		if !semaphore.TryAcquire(semaphore.size) {
			s.Errorf("some %s are being fetched", what)
			continue
		}
		semaphore.Release(semaphore.size)
	}
}

// wantLayers checks that the cache has exactly these layers, and nothing of
// one that is being written.
func (s *site) wantLayers(layers ...manifest.Layer) {
	s.Helper()
	var want []string
	for _, l := range layers {
		want = append(want, filepath.Base(layerName(l.Squashfs.Digest)))
	}
	slices.Sort(want)
	if got := s.files(); !slices.Equal(got, want) {
		s.Errorf("cache has %v, want %v", got, want)
	}
}

// faultyStore is a store that counts what is read of it and fails as it is told.
type faultyStore struct {
	store.Reader
	// open and read run before each call; an error of theirs is the call's.
	open func(name string) error
	read func(ctx context.Context, name string, off int64) error

	mu    sync.Mutex
	bytes map[string]int64 // read, by name
	opens map[string]int
}

func (s *faultyStore) Open(ctx context.Context, name string) (store.File, error) {
	s.count(name, 0, 1)
	if s.open != nil {
		if err := s.open(name); err != nil {
			return nil, err
		}
	}
	f, err := s.Reader.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, store: s, name: name, ctx: ctx}, nil
}

func (s *faultyStore) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	s.count(name, 0, 1)
	if s.open != nil {
		if err := s.open(name); err != nil {
			return nil, err
		}
	}
	return s.Reader.ReadFile(ctx, name, limit)
}

func (s *faultyStore) count(name string, bytes int64, opens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil {
		s.bytes, s.opens = map[string]int64{}, map[string]int{}
	}
	s.bytes[name] += bytes
	s.opens[name] += opens
}

func (s *faultyStore) totals() (bytes int64, opens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.bytes {
		bytes += s.bytes[name]
		opens += s.opens[name]
	}
	return bytes, opens
}

// tornError is an error of a read that has brought so many bytes before.
type tornError int

func (e tornError) Error() string { return fmt.Sprintf("torn after %d bytes", int(e)) }

type faultyFile struct {
	store.File
	store *faultyStore
	name  string
	ctx   context.Context
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	var fault error
	if f.store.read != nil {
		fault = f.store.read(f.ctx, f.name, off)
	}
	if torn, ok := errors.AsType[tornError](fault); ok {
		p = p[:min(int(torn), len(p))]
	} else if fault != nil {
		return 0, fault
	}
	n, err := f.File.ReadAt(p, off)
	f.store.count(f.name, int64(n), 0)
	return n, errors.Join(err, fault)
}
