package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// trees makes what build.sh makes, small, and returns its directory. Times and
// modes are those of the run.
func trees(t *testing.T, mode os.FileMode, at time.Time) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"manager/manager", "node-agent/node-agent", "host-programs/host-programs/runc"} {
		for _, architecture := range architectures {
			name := filepath.Join(dir, architecture, file)
			if err := errors.Join(
				os.MkdirAll(filepath.Dir(name), 0o700),
				os.WriteFile(name, []byte(architecture+file), mode),
				os.Chtimes(name, at, at),
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestSameFilesGiveSameBytes(t *testing.T) {
	first, second := trees(t, 0o700, time.Unix(1e9, 0)), trees(t, 0o755, time.Unix(2e9, 0))
	for _, d := range daemons {
		var archives [2][]byte
		for i, dir := range []string{first, second} {
			if err := d.write(dir, "v1"); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(filepath.Join(dir, d.name+".tar"))
			if err != nil {
				t.Fatal(err)
			}
			archives[i] = content
		}
		if !bytes.Equal(archives[0], archives[1]) {
			t.Errorf("%s: two archives of the same files differ", d.name)
		}
	}
}

func TestArchive(t *testing.T) {
	dir := trees(t, 0o755, time.Now())
	for _, d := range daemons {
		t.Run(d.name, func(t *testing.T) {
			if err := d.write(dir, "v1"); err != nil {
				t.Fatal(err)
			}
			top, err := layout.ImageIndexFromPath(unpack(t, filepath.Join(dir, d.name+".tar")))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(top); err != nil {
				t.Fatal(err)
			}
			manifest, err := top.IndexManifest()
			if err != nil || len(manifest.Manifests) != 1 {
				t.Fatalf("the archive has %v, want one image: %v", manifest, err)
			}
			for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
				if got, want := manifest.Manifests[0].Annotations[key], "ghcr.io/stormcell/"+d.name+":v1"; got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			index, err := top.ImageIndex(manifest.Manifests[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkPlatforms(t, d, index)
		})
	}
}

// checkPlatforms looks at the configuration of the image for each architecture.
func checkPlatforms(t *testing.T, d daemon, index v1.ImageIndex) {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != len(architectures) {
		t.Fatalf("the image has %v, want one for each of %v: %v", manifest, architectures, err)
	}
	for i, want := range architectures {
		if got := manifest.Manifests[i].Platform.String(); got != "linux/"+want {
			t.Errorf("the index says %s, want linux/%s", got, want)
		}
		image, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != want || config.Config.User != d.user || config.Config.Entrypoint[0] != "/"+d.name {
			t.Errorf("the configuration is %+v", config)
		}
	}
}

func TestOnlyFilesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := pack(io.Discard, dir); err == nil {
		t.Error("a link went into an image")
	}
}

// unpack unpacks a tar of plain files into a directory of its own.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
