package convert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/convert/layertar"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

func TestPublishWritesTheStore(t *testing.T) {
	image := makeImage(t, gzipLayers, baseLayer(), upperLayer())
	dir, converter := newStore(t)
	report := publishImage(t, converter, writeLayout(t, image), "storm/demo:1", "storm/demo:latest")

	content, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(content)
	if got := report.Images[0].ManifestDigest; got != d {
		t.Errorf("manifest digest %s, want %s", got, d)
	}
	if got := readStore(t, dir, manifest.ManifestFile(d)); got != string(content) {
		t.Errorf("the manifest is not the source's, byte for byte:\n%s", got)
	}
	tags := readStore(t, dir, manifest.TagFile)
	if want := "storm/demo:1,storm/demo:latest:" + d.Encoded() + "#" + report.Images[0].Image + "\n"; tags != want {
		t.Errorf("tag file %q, want %q", tags, want)
	}
	resolved, err := store.Resolve(t.Context(), converter.Store, "storm/demo:1", d, store.VerifyRequired)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range resolved.Layers {
		squashed := readStore(t, dir, l.File)
		if got := digest.FromString(squashed); got != l.Squashfs.Digest || int64(len(squashed)) != l.Squashfs.Size {
			t.Errorf("layer %d: the file hashes to %s, its identity says %s", i, got, l.Squashfs.Digest)
		}
		if fi, err := os.Stat(filepath.Join(dir, l.File)); err != nil || fi.Mode().Perm() != 0o444 {
			t.Errorf("layer %d: mode %v, %v, want 0444", i, fi.Mode(), err)
		}
	}
	for _, l := range report.Images[0].Layers {
		if l.Outcome != publish.Converted {
			t.Errorf("layer %s: %s", l.Digest, l.Outcome)
		}
	}
}

// TestSameInputSameBytes converts one image in every way that must not matter.
func TestSameInputSameBytes(t *testing.T) {
	// Enough files for several blocks, fragments and metadata blocks.
	var entries []any
	for i := range 3000 {
		entries = append(entries, tarFile(fmt.Sprintf("d%d/f%d", i%37, i), strings.Repeat(fmt.Sprintf("%d ", i), i)))
	}
	var first map[string]string
	for name, change := range map[string]func(c *convert.Converter){
		"as it is":       func(*convert.Converter) {},
		"once more":      func(*convert.Converter) {},
		"one processor":  func(c *convert.Converter) { c.Squasher.Processors = 1 },
		"two processors": func(c *convert.Converter) { c.Squasher.Processors = 2 },
		"four":           func(c *convert.Converter) { c.Squasher.Processors = 4 },
	} {
		dir, converter := newStore(t)
		change(converter)
		report := publishImage(t, converter, writeLayout(t, makeImage(t, gzipLayers, entries, baseLayer())), "storm/demo:1")
		got := map[string]string{}
		for _, l := range report.Images[0].Layers {
			got[manifest.LayerFile(l.Digest)] = digest.FromString(readStore(t, dir, manifest.LayerFile(l.Digest))).String()
		}
		if first == nil {
			first = got
		}
		for file, d := range first {
			if got[file] != d {
				t.Errorf("%s: %s hashes to %s, before to %s", name, file, got[file], d)
			}
		}
	}
}

func TestCompressionsAreSniffed(t *testing.T) {
	entries := baseLayer()
	var first string
	for name, form := range map[string]layerForm{
		"gzip": gzipLayers, "zstd": zstdLayers, "none": plainLayers, "gzip of many members": manyMembers,
		"gzip that says it is none": func(t *testing.T, content []byte) v1.Layer {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			w.Close()
			return packedLayer(b.Bytes(), content, types.OCIUncompressedLayer)
		},
	} {
		dir, converter := newStore(t)
		report := publishImage(t, converter, writeLayout(t, makeImage(t, form, entries)), "storm/demo:1")
		got := readStore(t, dir, manifest.LayerFile(report.Images[0].Layers[0].Digest))
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("%s: another squashfs than before", name)
		}
	}
}

func TestLayersThatAreThere(t *testing.T) {
	image := makeImage(t, gzipLayers, baseLayer(), upperLayer())
	name := writeLayout(t, image)
	dir, converter := newStore(t)
	first := publishImage(t, converter, name, "storm/demo:1")
	layer, other := first.Images[0].Layers[0], first.Images[0].Layers[1]

	t.Run("are kept", func(t *testing.T) {
		again := publishImage(t, converter, name, "storm/demo:2")
		for _, l := range again.Images[0].Layers {
			if l.Outcome != publish.Kept {
				t.Errorf("layer %s: %s", l.Digest, l.Outcome)
			}
		}
		if tags := readStore(t, dir, manifest.TagFile); !strings.HasPrefix(tags, "storm/demo:1,storm/demo:2:") {
			t.Errorf("tag file %q", tags)
		}
	})
	t.Run("get an identity", func(t *testing.T) {
		if err := os.Remove(filepath.Join(dir, manifest.IdentityFile(layer.Digest))); err != nil {
			t.Fatal(err)
		}
		again := publishImage(t, converter, name, "storm/demo:2").Images[0].Layers
		if again[0].Outcome != publish.Identified || again[0].Squashfs != layer.Squashfs || again[1].Outcome != publish.Kept {
			t.Errorf("layers %+v", again)
		}
	})
	t.Run("are refused if cut short", func(t *testing.T) {
		truncate(t, filepath.Join(dir, manifest.LayerFile(layer.Digest)), layer.Squashfs.Size/2)
		mustBe(t, publishFails(t.Context(), t, converter, name), publish.ErrDamaged, "run with --force")
		if err := os.Remove(filepath.Join(dir, manifest.IdentityFile(layer.Digest))); err != nil {
			t.Fatal(err)
		}
		mustBe(t, publishFails(t.Context(), t, converter, name), publish.ErrDamaged, "cut short")
	})
	t.Run("are made anew by force", func(t *testing.T) {
		converter.Options.Force = true
		defer func() { converter.Options.Force = false }()
		again := publishImage(t, converter, name, "storm/demo:2").Images[0].Layers
		if again[0].Outcome != publish.Converted || again[0].Squashfs != layer.Squashfs || again[1].Squashfs != other.Squashfs {
			t.Errorf("layers %+v", again)
		}
		if got := digest.FromString(readStore(t, dir, manifest.LayerFile(layer.Digest))); got != layer.Squashfs.Digest {
			t.Errorf("the file hashes to %s", got)
		}
	})
}

func TestALayerListedTwice(t *testing.T) {
	_, converter := newStore(t)
	report := publishImage(t, converter, writeLayout(t, makeImage(t, gzipLayers, upperLayer(), upperLayer())), "storm/demo:1")
	if l := report.Images[0].Layers; len(l) != 2 || l[0] != l[1] {
		t.Errorf("layers %+v", l)
	}
}

// TestBadImages publishes what is damaged or hostile, and looks at the store.
func TestBadImages(t *testing.T) {
	good := writeTar(t, baseLayer())
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(good); err != nil {
		t.Fatal(err)
	}
	w.Close()
	// corrupt replaces the blob of an OCI layout's only layer.
	corrupt := func(change func(blob []byte) []byte) func(t *testing.T) string {
		return func(t *testing.T) string {
			name := writeLayout(t, makeImage(t, gzipLayers, baseLayer()))
			file := largestBlob(t, strings.TrimPrefix(name, "oci:"))
			blob, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, change(bytes.Clone(blob)), 0o644); err != nil {
				t.Fatal(err)
			}
			return name
		}
	}
	layerOf := func(l v1.Layer) func(t *testing.T) string {
		return func(t *testing.T) string {
			return writeLayout(t, imageWith(t, func(*testing.T, []byte) v1.Layer { return l }, nil))
		}
	}
	tests := map[string]struct {
		image  func(t *testing.T) string
		limits convert.Limits
		want   error
		says   string
	}{
		"a byte that changed":     {image: corrupt(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), want: manifest.ErrDigestMismatch, says: "the blob hashes to"},
		"a changed last byte":     {image: corrupt(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), want: manifest.ErrDigestMismatch},
		"a changed first byte":    {image: corrupt(func(b []byte) []byte { b[0] ^= 1; return b }), want: manifest.ErrDigestMismatch},
		"a blob cut short":        {image: corrupt(func(b []byte) []byte { return b[:len(b)/2] }), want: manifest.ErrDigestMismatch, says: "the blob ends after"},
		"an empty blob":           {image: corrupt(func([]byte) []byte { return nil }), want: manifest.ErrDigestMismatch},
		"a blob with an addition": {image: corrupt(func(b []byte) []byte { return append(b, 'x') }), want: manifest.ErrDigestMismatch, says: "longer than"},
		"another content":         {image: layerOf(packedLayer(compressed.Bytes(), []byte("other"), types.OCILayer)), want: manifest.ErrDigestMismatch, says: "the image config says"},
		"content after the end":   {image: layerOf(packedLayer(append(bytes.Clone(good), "more"...), good, types.OCIUncompressedLayer)), want: manifest.ErrDigestMismatch},
		"no archive":              {image: layerOf(packedLayer(bytes.Repeat([]byte("text"), 999), nil, types.OCIUncompressedLayer)), want: layertar.ErrMalformed},
		"an entry that leads out": {image: func(t *testing.T) string {
			return writeLayout(t, makeImage(t, gzipLayers, tarOf(t, tarFile("../x", "1"))))
		}, want: layertar.ErrMalformed, says: `entry "../x"`},
		"a bomb": {image: func(t *testing.T) string {
			return writeLayout(t, makeImage(t, gzipLayers, tarOf(t, tarFile("x", strings.Repeat("\x00", 1<<20)))))
		}, limits: convert.Limits{Layers: 1, Compressed: 1 << 20, Unpacked: 100_000}, want: layertar.ErrTooLarge},
		"a bomb after the end":     {image: layerOf(packedLayer(gzipped(t, bytes.Repeat([]byte{0}, 1<<20)), nil, types.OCILayer)), limits: convert.Limits{Layers: 1, Compressed: 1 << 20, Unpacked: 100_000}, want: publish.ErrLimit, says: "--max-unpacked-size"},
		"too many layers":          {image: func(t *testing.T) string { return writeLayout(t, makeImage(t, gzipLayers, upperLayer(), topLayer())) }, limits: convert.Limits{Layers: 1, Compressed: 1 << 20, Unpacked: 1 << 20}, want: publish.ErrLimit, says: "--max-layers"},
		"too many bytes":           {image: func(t *testing.T) string { return writeLayout(t, makeImage(t, gzipLayers, upperLayer())) }, limits: convert.Limits{Layers: 1, Compressed: 10, Unpacked: 1 << 20}, want: publish.ErrLimit, says: "--max-size"},
		"a foreign layer":          {image: layerOf(static.NewLayer(compressed.Bytes(), types.DockerForeignLayer)), want: manifest.ErrUnsupported},
		"another architecture":     {image: func(t *testing.T) string { return writeLayout(t, otherArchitecture(t)) }, want: convert.ErrPlatform, says: "pass --platform linux/s390x"},
		"an image that is no file": {image: func(t *testing.T) string { return "oci:" + filepath.Join(t.TempDir(), "no") }, want: source.ErrNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, converter := newStore(t)
			if tt.limits != (convert.Limits{}) {
				converter.Options.Limits = tt.limits
			}
			mustBe(t, publishFails(t.Context(), t, converter, tt.image(t)), tt.want, tt.says)
			if left := files(t, dir); len(left) != 0 {
				t.Errorf("the store now has %q", left)
			}
			if left := files(t, converter.Options.TempDir); len(left) != 0 {
				t.Errorf("the working directory still has %q", left)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	_, converter := newStore(t)
	for name, r := range map[string]convert.Request{
		"no tag":       {Image: "oci:x"},
		"an empty tag": {Image: "oci:x", Tags: []string{""}},
		"a bad tag":    {Image: "oci:x", Tags: []string{"Storm Demo"}},
		"a digest":     {Image: "oci:x", Tags: []string{"storm/demo@sha256:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := converter.Publish(t.Context(), []convert.Request{r})
			mustBe(t, err, convert.ErrBadRequest, "")
		})
	}
	t.Run("no store", func(t *testing.T) {
		dir, converter := newStore(t)
		if err := os.Remove(filepath.Join(dir, manifest.TagFile)); err != nil {
			t.Fatal(err)
		}
		mustBe(t, publishFails(t.Context(), t, converter, "oci:x"), tagfile.ErrNoStore, "--bootstrap")
	})
}

// TestCancelled ends a conversion in the middle of a layer.
func TestCancelled(t *testing.T) {
	dir, converter := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	converter.Progress = cancelling{cancel: cancel}
	err := publishFails(ctx, t, converter, writeLayout(t, makeImage(t, gzipLayers, baseLayer())))
	mustBe(t, err, context.Canceled, "")
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("the store now has %q", left)
	}
	if left := files(t, converter.Options.TempDir); len(left) != 0 {
		t.Errorf("the working directory still has %q", left)
	}
}

// cancelling ends the conversion at its first byte.
type cancelling struct {
	noProgress
	cancel context.CancelFunc
}

func (c cancelling) Advance(digest.Digest, int64) { c.cancel() }

// TestEveryWriteMayFail fails each step of the publication in turn, as a
// crash there would, and then repeats the whole.
func TestEveryWriteMayFail(t *testing.T) {
	name := writeLayout(t, makeImage(t, gzipLayers, baseLayer(), upperLayer()))
	for failing := 0; ; failing++ {
		dir, converter := newStore(t)
		store := converter.Store
		faulty := &faultyStore{Writer: store, left: failing}
		converter.Store = faulty
		_, err := converter.Publish(t.Context(), []convert.Request{{Image: name, Tags: []string{"storm/demo:1"}}})
		if err == nil {
			if failing < 7 { // two layers, two identities, config, manifest, tag file
				t.Errorf("only %d writes", failing)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("write %d: %v", failing, err)
		}
		if tags := readStore(t, dir, manifest.TagFile); tags != "" {
			t.Errorf("write %d failed, but the tag file is %q", failing, tags)
		}
		converter.Store = store
		publishImage(t, converter, name, "storm/demo:1")
	}
}

var errFault = errors.New("the store is gone")

// faultyStore fails every Commit and Replace after a number of good ones.
type faultyStore struct {
	store.Writer
	lock sync.Mutex
	left int
}

func (s *faultyStore) fails() bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.left--
	return s.left < 0
}

func (s *faultyStore) Create(ctx context.Context, name string, o store.CreateOptions) (store.Upload, error) {
	u, err := s.Writer.Create(ctx, name, o)
	return &faultyUpload{Upload: u, store: s}, err
}

func (s *faultyStore) Replace(ctx context.Context, name string, old, content []byte, o store.CreateOptions) error {
	if name != lease.File && s.fails() {
		return errFault
	}
	return s.Writer.Replace(ctx, name, old, content, o)
}

type faultyUpload struct {
	store.Upload
	store *faultyStore
}

func (u *faultyUpload) Commit() error {
	if u.store.fails() {
		return errFault
	}
	return u.Upload.Commit()
}

// TestTagFileOfTwoWriters lets another writer in between reading and writing.
func TestTagFileOfTwoWriters(t *testing.T) {
	dir, converter := newStore(t)
	store := converter.Store
	converter.Store = &racingStore{Writer: store, races: 3}
	publishImage(t, converter, writeLayout(t, makeImage(t, gzipLayers, upperLayer())), "storm/demo:1")
	tags, warnings := manifest.ParseTags([]byte(readStore(t, dir, manifest.TagFile)))
	if len(warnings) > 0 {
		t.Error(warnings)
	}
	if got := fmt.Sprint(tags.All()); got != "[other:1 other:2 other:3 storm/demo:1]" {
		t.Errorf("tags %s", got)
	}
}

type racingStore struct {
	store.Writer
	races int
}

func (s *racingStore) Replace(ctx context.Context, name string, old, content []byte, o store.CreateOptions) error {
	if name != lease.File && s.races > 0 {
		other := fmt.Sprintf("%sother:%d:%s\n", old, s.races, strings.Repeat("a", 64))
		if err := s.Writer.Replace(ctx, name, old, []byte(other), o); err != nil {
			return err
		}
		s.races--
	}
	return s.Writer.Replace(ctx, name, old, content, o)
}

func otherArchitecture(t *testing.T) v1.Image {
	t.Helper()
	image := makeImage(t, gzipLayers, upperLayer())
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture = "s390x"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readStore(t *testing.T, dir, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// files lists the files below dir but for the tag file, if it is empty, and
// the lock of it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" || d.Name() == lease.File {
			return err
		}
		fi, err := d.Info()
		if err == nil && (d.Name() != manifest.TagFile || fi.Size() > 0) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func largestBlob(t *testing.T, layout string) string {
	t.Helper()
	var largest string
	var size int64
	for _, name := range files(t, filepath.Join(layout, "blobs")) {
		if fi, err := os.Stat(name); err == nil && fi.Size() > size {
			largest, size = name, fi.Size()
		}
	}
	return largest
}

// truncate cuts a read-only file.
func truncate(t *testing.T, name string, size int64) {
	t.Helper()
	if err := errors.Join(os.Chmod(name, 0o644), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
}

func mustBe(t *testing.T, err, want error, says string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want %v that says %q", err, want, says)
	}
}
