package convert_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

var testTime = time.Unix(1_600_000_000, 0)

func tarDir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: testTime}
}

// file is an entry with content.
type file struct {
	tar.Header
	content string
}

func tarFile(name, content string) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: testTime}, content}
}

// with changes an entry.
func with[T tar.Header | file](e T, change func(h *tar.Header)) T {
	switch p := any(&e).(type) {
	case *tar.Header:
		change(p)
	case *file:
		change(&p.Header)
	}
	return e
}

// tarOf is a list of entries: tar.Header or file.
func tarOf(t *testing.T, entries ...any) []any { t.Helper(); return entries }

func writeTar(t *testing.T, entries []any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		f, ok := e.(file)
		if !ok {
			f.Header = e.(tar.Header)
		}
		f.Size = int64(len(f.content))
		f.Format = tar.FormatPAX
		if f.ModTime.IsZero() {
			f.ModTime = testTime
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layerForm makes a layer's blob of its archive.
type layerForm func(t *testing.T, content []byte) v1.Layer

func gzipLayers(t *testing.T, content []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// packed is a layer whose blob and content are made by hand.
type packed struct {
	v1.Layer
	diffID v1.Hash
}

func (p packed) DiffID() (v1.Hash, error) { return p.diffID, nil }

func packedLayer(blob, content []byte, mediaType types.MediaType) v1.Layer {
	diffID, err := v1.NewHash(digest.FromBytes(content).String())
	if err != nil {
		panic(err)
	}
	return packed{static.NewLayer(blob, mediaType), diffID}
}

func zstdLayers(t *testing.T, content []byte) v1.Layer {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return packedLayer(w.EncodeAll(content, nil), content, types.OCILayerZStd)
}

func plainLayers(_ *testing.T, content []byte) v1.Layer {
	return packedLayer(content, content, types.OCIUncompressedLayer)
}

// manyMembers is a gzip file of several members, as eStargz has it.
func manyMembers(t *testing.T, content []byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	for rest := content; len(rest) > 0; {
		n := min(1000, len(rest))
		w := gzip.NewWriter(&b)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	return packedLayer(b.Bytes(), content, types.OCILayer)
}

func makeImage(t *testing.T, form layerForm, layers ...[]any) v1.Image {
	t.Helper()
	contents := make([][]byte, len(layers))
	for i, entries := range layers {
		contents[i] = writeTar(t, entries)
	}
	return imageWith(t, form, contents...)
}

func imageOf(t *testing.T, layers ...[]byte) v1.Image {
	t.Helper()
	return imageWith(t, gzipLayers, layers...)
}

func imageWith(t *testing.T, form layerForm, layers ...[]byte) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, content := range layers {
		var err error
		if image, err = mutate.AppendLayers(image, form(t, content)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Env = []string{"PATH=/bin"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// writeLayout writes images into an OCI layout and returns its name.
func writeLayout(t *testing.T, images ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for i, image := range images {
		err := l.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": fmt.Sprintf("v%d", i+1)}))
		if err != nil {
			t.Fatal(err)
		}
	}
	return "oci:" + dir
}

// newStore returns the directory of a new store, and a converter into it.
func newStore(t *testing.T) (string, *convert.Converter) {
	t.Helper()
	dir := t.TempDir()
	store := localdir.New(dir)
	if err := store.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	squasher, err := squashfs.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dir, &convert.Converter{
		Store:    store,
		Squasher: squasher,
		Progress: noProgress{},
		Options: convert.Options{
			Platform: source.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Limits:   convert.DefaultLimits,
			TempDir:  t.TempDir(),
			TagFile:  manifest.TagFile,
		},
	}
}

func publishImage(t *testing.T, c *convert.Converter, image string, tags ...string) *publish.Report {
	t.Helper()
	report, err := c.Publish(t.Context(), []convert.Request{{Image: image, Tags: tags}})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// publishFails returns the error of a publication that must fail.
func publishFails(ctx context.Context, t *testing.T, c *convert.Converter, image string) error {
	t.Helper()
	_, err := c.Publish(ctx, []convert.Request{{Image: image, Tags: []string{"storm/demo:1"}}})
	if err == nil {
		t.Fatalf("%s was published", image)
	}
	return err
}

type noProgress struct{}

func (noProgress) Begin(digest.Digest, int64)   {}
func (noProgress) Advance(digest.Digest, int64) {}
func (noProgress) End(digest.Digest, bool)      {}
