package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// image is a store in a directory with one image of two layers, of which the
// second has an identity.
type image struct {
	dir              string
	manifest, config digest.Digest
	layers, diffIDs  [2]digest.Digest
}

func newImage(t *testing.T) image {
	t.Helper()
	im := image{dir: t.TempDir()}
	if err := localdir.New(im.dir).Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range im.layers {
		im.layers[i] = digest.FromString(fmt.Sprint("archive ", i))
		im.diffIDs[i] = digest.FromString(fmt.Sprint("tar ", i))
		im.put(t, manifest.LayerFile(im.layers[i]), "squashfs")
	}
	im.identify(t, im.diffIDs[1], len("squashfs"))
	config := fmt.Sprintf(`{"os":"linux","rootfs":{"diff_ids":[%q,%q]}}`, im.diffIDs[0], im.diffIDs[1])
	im.config = digest.FromString(config)
	im.put(t, manifest.ConfigFile(im.config), config)
	im.describe(t, len(config))
	return im
}

// identify writes the identity of the second layer.
func (im *image) identify(t *testing.T, diffID digest.Digest, size int) {
	t.Helper()
	im.put(t, manifest.IdentityFile(im.layers[1]),
		fmt.Sprintf(`{"digest":%q,"size":%d,"diffID":%q,"compression":"zstd"}`, digest.FromString("squashfs"), size, diffID))
}

// describe writes a manifest that gives the config that size.
func (im *image) describe(t *testing.T, configSize int) {
	t.Helper()
	doc := fmt.Sprintf(
		`{"schemaVersion":2,"config":{"mediaType":%q,"size":%d,"digest":%q},"layers":[{"mediaType":%[4]q,"size":10,"digest":%[5]q},{"mediaType":%[4]q,"size":20,"digest":%[6]q}]}`,
		manifest.MediaTypeOCIConfig, configSize, im.config, manifest.MediaTypeOCILayerGzip, im.layers[0], im.layers[1])
	im.manifest = digest.FromString(doc)
	im.put(t, manifest.ManifestFile(im.manifest), doc)
}

func (im *image) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(im.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (im *image) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(im.dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	im := newImage(t)
	got, err := store.Resolve(t.Context(), localdir.New(im.dir), "a:tag", im.manifest, store.VerifyIfPresent)
	if err != nil {
		t.Fatal(err)
	}
	if got.Tag != "a:tag" || got.ManifestDigest != im.manifest || got.Config.Digest != im.config || len(got.Layers) != 2 {
		t.Fatalf("%+v", got)
	}
	want := [2]manifest.Layer{
		{Digest: im.layers[0], Size: 10, File: manifest.LayerFile(im.layers[0]), Squashfs: manifest.Blob{Size: 8}},
		{Digest: im.layers[1], Size: 20, File: manifest.LayerFile(im.layers[1]), Squashfs: manifest.Blob{Digest: digest.FromString("squashfs"), Size: 8}},
	}
	if [2]manifest.Layer(got.Layers) != want {
		t.Errorf("layers %+v, want %+v", got.Layers, want)
	}
	if n := got.SquashfsBytes(); n != 16 {
		t.Errorf("%d bytes to fetch, want 16", n)
	}
}

func TestResolveErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(*testing.T, *image)
		want error
		says string
	}{
		{"no manifest", func(t *testing.T, im *image) { im.remove(t, manifest.ManifestFile(im.manifest)) }, store.ErrManifestMissing, "manifests/"},
		{"altered manifest", func(t *testing.T, im *image) { im.put(t, manifest.ManifestFile(im.manifest), "{}") }, manifest.ErrDigestMismatch, "manifest sha256:"},
		{"huge manifest", func(t *testing.T, im *image) {
			im.put(t, manifest.ManifestFile(im.manifest), strings.Repeat(" ", manifest.MaxManifestSize+1))
		}, store.ErrTooLarge, "manifests/"},
		{"manifest of 10 MiB", func(t *testing.T, im *image) {
			im.put(t, manifest.ManifestFile(im.manifest), strings.Repeat(" ", 10<<20))
		}, store.ErrTooLarge, "manifests/"},
		{"no config", func(t *testing.T, im *image) { im.remove(t, manifest.ConfigFile(im.config)) }, store.ErrConfigMissing, "config/"},
		{"altered config", func(t *testing.T, im *image) {
			p := manifest.ConfigFile(im.config)
			old, err := os.ReadFile(filepath.Join(im.dir, p))
			if err != nil {
				t.Fatal(err)
			}
			im.put(t, p, strings.Replace(string(old), "linux", "Linux", 1))
		}, manifest.ErrDigestMismatch, "image config sha256:"},
		{"config of another size", func(t *testing.T, im *image) { im.describe(t, 3) }, manifest.ErrMalformed, "its manifest says 3 bytes"},
		{"no layer", func(t *testing.T, im *image) { im.remove(t, manifest.LayerFile(im.layers[0])) }, store.ErrLayerMissing, ".sqsh"},
		{"a folder for a layer", func(t *testing.T, im *image) {
			im.remove(t, manifest.LayerFile(im.layers[0]))
			if err := os.Mkdir(filepath.Join(im.dir, manifest.LayerFile(im.layers[0])), 0o755); err != nil {
				t.Fatal(err)
			}
		}, store.ErrNotFile, ".sqsh"},
		{"truncated layer", func(t *testing.T, im *image) { im.put(t, manifest.LayerFile(im.layers[1]), "squ") }, store.ErrIdentityMismatch, "says 8 bytes, the file has 3"},
		{"identity of another layer", func(t *testing.T, im *image) { im.identify(t, im.diffIDs[0], 8) }, store.ErrIdentityMismatch, "the image config says"},
		{"malformed identity", func(t *testing.T, im *image) { im.put(t, manifest.IdentityFile(im.layers[1]), "{") }, manifest.ErrMalformed, "layer identity"},
		{"no store", func(t *testing.T, im *image) {
			if err := os.RemoveAll(im.dir); err != nil {
				t.Fatal(err)
			}
		}, store.ErrUnavailable, "file://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := newImage(t)
			c.harm(t, &im)
			got, err := store.Resolve(t.Context(), localdir.New(im.dir), "tag", im.manifest, store.VerifyIfPresent)
			if !errors.Is(err, c.want) || got != nil {
				t.Fatalf("%+v, %v, want %v", got, err, c.want)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v is a bare %v: callers could not tell which part is missing", err, fs.ErrNotExist)
			}
		})
	}
}

func TestResolveVerifyRequired(t *testing.T) {
	im := newImage(t)
	local := localdir.New(im.dir)
	_, err := store.Resolve(t.Context(), local, "tag", im.manifest, store.VerifyRequired)
	if !errors.Is(err, store.ErrUnverifiable) || !strings.Contains(err.Error(), manifest.IdentityFile(im.layers[0])) {
		t.Errorf("%v, want %v of the first layer", err, store.ErrUnverifiable)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Resolve(ctx, local, "tag", im.manifest, store.VerifyRequired); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
