package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/backends"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// sharedImages makes n images by umoci, "v1" and so on, of two layers each, of
// which the base layer is the same. It returns the layout's name.
func sharedImages(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	umoci(t, "init", "--layout", layout)
	base := layerArchive(t, dir, "etc/dockerfile-version", "1")
	for i := range n {
		image := fmt.Sprintf("%s:v%d", layout, i+1)
		umoci(t, "new", "--image", image)
		umoci(t, "raw", "add-layer", "--image", image, base)
		umoci(t, "raw", "add-layer", "--image", image, layerArchive(t, dir, fmt.Sprint("f", i), "own"))
	}
	return "oci:" + layout
}

func umoci(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "umoci", args...).CombinedOutput(); err != nil {
		t.Fatalf("umoci %v: %v: %s", args, err, out)
	}
}

// layerArchive writes the archive of a layer with one file.
func layerArchive(t *testing.T, dir, name, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	file := filepath.Join(dir, filepath.Base(name)+".tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// mustRun runs the program and returns its standard output.
func mustRun(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := program(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker-to-squash %q: %v: %s%s", args, err, stderr.String(), out)
	}
	return out
}

// runJSON runs the program and reads the result.
func runJSON[T any](t *testing.T, args ...string) T {
	t.Helper()
	var result T
	if out := mustRun(t, append(args, "--output", "json")...); json.Unmarshal(out, &result) != nil {
		t.Fatalf("%q writes %s", args, out)
	}
	return result
}

// tagsOf reads which manifest each tag of a store names.
func tagsOf(t *testing.T, store string) map[string]string {
	t.Helper()
	tags := map[string]string{}
	for _, tag := range runJSON[admin.Listing](t, "list-tags", "--store", store).Tags {
		tags[tag.Name] = tag.ManifestDigest.Encoded()
	}
	return tags
}

// wantWhole checks that every tag of a store leads to an image that is whole.
func wantWhole(t *testing.T, url string) {
	t.Helper()
	writer, err := backends.Open(url, backends.Options{HadoopConf: backends.HadoopConf(os.Getenv)})
	if err != nil {
		t.Fatal(err)
	}
	content, err := writer.ReadFile(t.Context(), manifest.TagFile, manifest.MaxTagFileSize)
	if err != nil {
		t.Fatal(err)
	}
	tags, warnings := manifest.ParseTags(content)
	if len(warnings) > 0 {
		t.Errorf("tag file: %q", warnings)
	}
	for _, tag := range tags.All() {
		d, _ := tags.Lookup(tag)
		if _, err := store.Resolve(t.Context(), writer, tag, d, store.VerifyRequired); err != nil {
			t.Errorf("tag %s: %v", tag, err)
		}
	}
}

// wantNoFaults verifies a store by the program.
func wantNoFaults(t *testing.T, store string) {
	t.Helper()
	if v := runJSON[admin.Verification](t, "verify", "--store", store); v.Faults > 0 || len(v.Findings) > 0 {
		t.Errorf("findings %+v", v.Findings)
	}
}
