package convert_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// TestPublishFromRegistry gives the same store as the layout of the image.
func TestPublishFromRegistry(t *testing.T) {
	image := makeImage(t, gzipLayers, baseLayer(), upperLayer())
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := push(t, server, image)
	dir, converter := newStore(t)
	other, fromLayout := newStore(t)
	got := publishImage(t, converter, "docker://"+ref, "storm/demo:1").Images[0]
	want := publishImage(t, fromLayout, writeLayout(t, image), "storm/demo:1").Images[0]
	if got.ManifestDigest != want.ManifestDigest {
		t.Errorf("manifest %s, want %s", got.ManifestDigest, want.ManifestDigest)
	}
	for _, l := range want.Layers {
		if readStore(t, dir, manifest.LayerFile(l.Digest)) != readStore(t, other, manifest.LayerFile(l.Digest)) {
			t.Errorf("layer %s differs", l.Digest)
		}
	}
}

// TestRegistryThatBreaksOff loses the connection in the middle of a layer.
func TestRegistryThatBreaksOff(t *testing.T) {
	backend := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &breaking{ResponseWriter: w, left: 300} // the config has less
		}
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	ref := push(t, server, makeImage(t, gzipLayers, baseLayer()))
	dir, converter := newStore(t)
	_, err := converter.Publish(t.Context(), []convert.Request{{Image: ref, Tags: []string{"storm/demo:1"}}})
	if err == nil || !strings.Contains(err.Error(), "layer sha256:") || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("error %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("the store now has %q", left)
	}
}

// breaking ends the connection after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func push(t *testing.T, server *httptest.Server, image v1.Image) string {
	t.Helper()
	ref := strings.TrimPrefix(server.URL, "http://") + "/storm/demo:1"
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, image); err != nil {
		t.Fatal(err)
	}
	return ref
}
