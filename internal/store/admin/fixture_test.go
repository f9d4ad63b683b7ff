package admin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// store is a store in a directory and its curator.
type testStore struct {
	*admin.Curator
	dir string
}

func newStore(t *testing.T) *testStore {
	t.Helper()
	dir := t.TempDir()
	s := localdir.New(dir)
	if err := s.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &testStore{dir: dir, Curator: &admin.Curator{
		Store: s, TagFile: manifest.TagFile, DeadMode: admin.DefaultDeadMode,
		Progress: noProgress{}, Log: slog.New(slog.DiscardHandler),
	}}
}

type noProgress struct{}

func (noProgress) Begin(digest.Digest, int64)   {}
func (noProgress) Advance(digest.Digest, int64) {}
func (noProgress) End(digest.Digest, bool)      {}

// squashed is a small squashfs file.
var squashed = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "curator")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "f.sqsh")
	if out, err := exec.Command("mksquashfs", dir, file, "-quiet", "-no-progress").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mksquashfs: %w: %s", err, out)
	}
	return os.ReadFile(file)
})

// layer names the layer that is made of a word, and diffID what is in it.
func layer(word string) digest.Digest  { return digest.FromString("layer " + word) }
func diffID(word string) digest.Digest { return digest.FromString("archive " + word) }

// layerFile is the content of that layer's file: a squashfs and padding.
func layerFile(t *testing.T, word string) []byte {
	t.Helper()
	content, err := squashed()
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(content), word...)
}

// addImage puts an image of layers into the store, tagged with tags.
func (s *testStore) addImage(t *testing.T, tags string, layers ...string) digest.Digest {
	t.Helper()
	var rootfs struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	}
	m := manifest.Manifest{SchemaVersion: 2, MediaType: manifest.MediaTypeOCIManifest}
	for _, word := range layers {
		content := layerFile(t, word)
		s.put(t, manifest.LayerFile(layer(word)), content)
		id, err := manifest.Identity{Digest: digest.FromBytes(content), Size: int64(len(content)), DiffID: diffID(word), Compression: "gzip"}.Format()
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, manifest.IdentityFile(layer(word)), id)
		rootfs.DiffIDs = append(rootfs.DiffIDs, diffID(word))
		m.Layers = append(m.Layers, manifest.Descriptor{MediaType: manifest.MediaTypeOCILayerGzip, Size: int64(len(word)), Digest: layer(word)})
	}
	config := marshal(t, map[string]any{"os": "linux", "architecture": "amd64", "rootfs": rootfs})
	m.Config = manifest.Descriptor{MediaType: manifest.MediaTypeOCIConfig, Size: int64(len(config)), Digest: digest.FromBytes(config)}
	s.put(t, manifest.ConfigFile(m.Config.Digest), config)
	return s.addManifest(t, tags, m, nil)
}

// addManifest puts a manifest into the store, with more members, so that two
// manifests may name the same blobs.
func (s *testStore) addManifest(t *testing.T, tags string, m manifest.Manifest, annotations map[string]string) digest.Digest {
	t.Helper()
	content := marshal(t, struct {
		manifest.Manifest
		Annotations map[string]string `json:"annotations,omitempty"`
	}{m, annotations})
	d := digest.FromBytes(content)
	s.put(t, manifest.ManifestFile(d), content)
	if tags != "" {
		s.put(t, manifest.TagFile, append([]byte(s.read(t, manifest.TagFile)), tags+":"+d.Encoded()+"#from "+tags+"\n"...))
	}
	return d
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (s *testStore) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *testStore) put(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(s.path(name)), os.WriteFile(s.path(name), content, 0o444), os.Chmod(s.path(name), 0o444)); err != nil {
		t.Fatal(err)
	}
}

func (s *testStore) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (s *testStore) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (s *testStore) mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	fi, err := os.Stat(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

// files lists the files of the store but for the tag file and locks.
func (s *testStore) files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") && d.Name() != manifest.TagFile && d.Name() != lease.File {
			names = append(names, strings.TrimPrefix(path, s.dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantWhole checks that a tag leads to an image that is whole.
func (s *testStore) wantWhole(t *testing.T, tag string) {
	t.Helper()
	tags, _ := manifest.ParseTags([]byte(s.read(t, manifest.TagFile)))
	d, ok := tags.Lookup(tag)
	if !ok {
		t.Errorf("there is no tag %s", tag)
		return
	}
	if _, err := store.Resolve(t.Context(), s.Store, tag, d, store.VerifyRequired); err != nil {
		t.Errorf("tag %s: %v", tag, err)
	}
}

func wantError(t *testing.T, err, want error, says string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want %v that says %q", err, want, says)
	}
}
