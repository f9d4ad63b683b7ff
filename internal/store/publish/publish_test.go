package publish_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// watched is a store that tells which files are removed.
type watched struct {
	*localdir.Store
	removed []string
}

func (w *watched) Remove(ctx context.Context, name string) error {
	w.removed = append(w.removed, name)
	return w.Store.Remove(ctx, name)
}

var layer = publish.Layer{
	Descriptor: manifest.Descriptor{Digest: digest.FromString("archive"), Size: 7},
	DiffID:     digest.FromString("tar"),
}

// newStore is an empty store.
func newStore(t *testing.T) *watched {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, manifest.LayersDir), 0o755); err != nil {
		t.Fatal(err)
	}
	return &watched{Store: localdir.New(root)}
}

func put(t *testing.T, s store.Writer, content string, want *manifest.Identity) (manifest.Identity, error) {
	t.Helper()
	p := publish.Publisher{Store: s}
	return p.PutLayer(t.Context(), layer, strings.NewReader(content), int64(len(content)), "zstd", want)
}

func identity(t *testing.T, s store.Reader) (manifest.Identity, error) {
	t.Helper()
	content, err := s.ReadFile(t.Context(), manifest.IdentityFile(layer.Digest), manifest.MaxIdentitySize)
	if err != nil {
		return manifest.Identity{}, err
	}
	return manifest.ParseIdentity(content)
}

// TestPutLayerKeepsTheIdentityOfTheSame is what happens to the slower of two
// that publish one layer: the faster one is looking whether its image is whole.
func TestPutLayerKeepsTheIdentityOfTheSame(t *testing.T) {
	s := newStore(t)
	for range 2 {
		if _, err := put(t, s, "content", nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.removed) > 0 {
		t.Errorf("%q were removed", s.removed)
	}
	if id, err := identity(t, s); err != nil || id.Digest != digest.FromString("content") {
		t.Errorf("identity %+v, %v", id, err)
	}
}

func TestPutLayerRemovesTheIdentityOfAnother(t *testing.T) {
	s := newStore(t)
	for _, content := range []string{"old", "new"} {
		if _, err := put(t, s, content, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.removed) != 1 || s.removed[0] != manifest.IdentityFile(layer.Digest) {
		t.Errorf("%q were removed", s.removed)
	}
	if id, err := identity(t, s); err != nil || id.Digest != digest.FromString("new") {
		t.Errorf("identity %+v, %v", id, err)
	}
}

func TestPutLayerPublishesNothingElse(t *testing.T) {
	s := newStore(t)
	_, err := put(t, s, "content", &manifest.Identity{Digest: digest.FromString("wanted"), Size: 7})
	if !errors.Is(err, manifest.ErrDigestMismatch) {
		t.Errorf("error %v", err)
	}
	if _, err := s.Stat(t.Context(), manifest.LayerFile(layer.Digest)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestVanished(t *testing.T) {
	for _, err := range []error{store.ErrLayerMissing, store.ErrUnverifiable} {
		if !publish.Vanished(err) {
			t.Errorf("%v is no reason to put it there again", err)
		}
	}
	if publish.Vanished(store.ErrIdentityMismatch) {
		t.Error("a damaged layer would be put there again and again")
	}
}
