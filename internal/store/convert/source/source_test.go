package source_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

var amd64 = source.Platform{OS: "linux", Architecture: "amd64"}

// TestOpenReadsWhatSkopeoWrites copies one image to every kind of place by
// skopeo and reads it from there.
func TestOpenReadsWhatSkopeoWrites(t *testing.T) {
	dir := t.TempDir()
	host := serve(t)
	image := randomImage(t, "amd64")
	writeLayout(t, filepath.Join(dir, "lay"), map[string]v1.Image{"v1": image})
	origin := "oci:" + filepath.Join(dir, "lay") + ":v1"
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name string
		// same tells that the manifest comes through byte for byte.
		same bool
	}{
		"oci":                        {name: "oci:" + filepath.Join(dir, "copy") + ":v2", same: true},
		"oci archive":                {name: "oci-archive:" + filepath.Join(dir, "copy.tar") + ":v3", same: true},
		"oci archive without a name": {name: "oci-archive:" + filepath.Join(dir, "plain.tar"), same: true},
		"docker archive":             {name: "docker-archive:" + filepath.Join(dir, "docker.tar") + ":storm/demo:v4"},
		"registry":                   {name: "docker://" + host + "/storm/demo:v5", same: true},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			skopeo(t, "copy", "--dest-tls-verify=false", origin, tt.name)
			got, err := source.Open(t.Context(), tt.name, amd64)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if tt.same && got.Digest.String() != want.String() {
				t.Errorf("digest %s, want %s", got.Digest, want)
			}
			raw := skopeo(t, "inspect", "--raw", "--tls-verify=false", tt.name)
			if !bytes.Equal(raw, got.Content) {
				t.Errorf("manifest\n%s\nskopeo reads\n%s", got.Content, raw)
			}
			checkBlobs(t, got)
		})
	}
}

// checkBlobs reads the config and every layer.
func checkBlobs(t *testing.T, image *source.Image) {
	t.Helper()
	for _, d := range append([]manifest.Descriptor{image.Manifest.Config}, image.Manifest.Layers...) {
		r, err := image.Blob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(content) != d.Digest || int64(len(content)) != d.Size {
			t.Errorf("blob %s: %d bytes that hash to %s", d.Digest, len(content), digest.FromBytes(content))
		}
	}
	_, err := image.Blob(t.Context(), manifest.Descriptor{Digest: digest.FromString("no such blob")})
	if err == nil {
		t.Error("a blob that is not there was opened")
	}
}

func TestIndexes(t *testing.T) {
	host := serve(t)
	images := map[string]v1.Image{"amd64": randomImage(t, "amd64"), "arm64": randomImage(t, "arm64")}
	add := func(image v1.Image, p v1.Platform) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p}}
	}
	attested := add(randomImage(t, "amd64"), v1.Platform{OS: "linux", Architecture: "amd64"})
	attested.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	unknown := add(randomImage(t, "unknown"), v1.Platform{OS: "unknown", Architecture: "unknown"})
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		attested, unknown,
		add(images["arm64"], v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}),
		add(images["amd64"], v1.Platform{OS: "linux", Architecture: "amd64"}),
	)
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	push(t, host+"/storm/multi:1", index)
	push(t, host+"/storm/multi:nested", nested)
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{host + "/storm/multi:1", host + "/storm/multi:nested", "oci:" + dir} {
		for platform, arch := range map[string]string{"linux/amd64": "amd64", "linux/arm64": "arm64", "linux/arm64/v8": "arm64"} {
			p, err := source.ParsePlatform(platform)
			if err != nil {
				t.Fatal(err)
			}
			got, err := source.Open(t.Context(), from, p)
			if err != nil {
				t.Fatalf("%s for %s: %v", from, platform, err)
			}
			if want, _ := images[arch].Digest(); got.Digest.String() != want.String() {
				t.Errorf("%s for %s: %s, want %s", from, platform, got.Digest, want)
			}
		}
		_, err = source.Open(t.Context(), from, source.Platform{OS: "linux", Architecture: "s390x"})
		if !errors.Is(err, source.ErrNoPlatform) || !strings.Contains(err.Error(), "there is linux/amd64, linux/arm64/v8: pass") {
			t.Errorf("%s for s390x: %v", from, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	host := serve(t)
	two := filepath.Join(dir, "two")
	writeLayout(t, two, map[string]v1.Image{"v1": randomImage(t, "amd64"), "v2": randomImage(t, "amd64")})
	skopeo(t, "copy", "oci:"+two+":v1", "docker-archive:"+dir+"/one.tar:storm/one:1")
	skopeo(t, "copy", "oci:"+two+":v1", "oci-archive:"+dir+"/oci.tar:v1")
	write(t, dir+"/text", "this is no archive, whatever its name")
	write(t, dir+"/compressed", "\x1f\x8b\x08\x00\x00\x00\x00\x00")
	cut, err := os.ReadFile(dir + "/oci.tar")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/cut", string(cut[:700]))
	changed := filepath.Join(dir, "changed")
	image := randomImage(t, "amd64")
	writeLayout(t, changed, map[string]v1.Image{"v1": image})
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(changed, "blobs", "sha256", d.Hex), `{"schemaVersion":2}`)
	tests := map[string]struct {
		name string
		want error
		says string
	}{
		"no name":                      {"", source.ErrBadReference, ""},
		"a name with upper case":       {host + "/Storm", source.ErrBadReference, ""},
		"a transport without a path":   {"oci:", source.ErrBadReference, "oci:PATH"},
		"another transport":            {"docker-daemon:x:y", source.ErrBadReference, "skopeo copy"},
		"an image that is not there":   {host + "/storm/none:1", nil, "NAME_UNKNOWN"},
		"a directory that is not":      {"oci:" + dir + "/none", source.ErrNotFound, ""},
		"a directory of no layout":     {"oci:" + dir, source.ErrNotFound, "not an OCI image layout"},
		"a tag that is not there":      {"oci:" + two + ":v3", source.ErrNotFound, `["v1" "v2"]`},
		"two images and no tag":        {"oci:" + two, source.ErrAmbiguous, "append :TAG"},
		"a file that is not there":     {"oci-archive:" + dir + "/none", source.ErrNotFound, ""},
		"text":                         {"oci-archive:" + dir + "/text", manifest.ErrMalformed, ""},
		"a compressed archive":         {"oci-archive:" + dir + "/compressed", manifest.ErrUnsupported, "gzip -d"},
		"an archive cut short":         {"oci-archive:" + dir + "/cut", manifest.ErrMalformed, ""},
		"an OCI archive for a Docker":  {"docker-archive:" + dir + "/oci.tar", source.ErrNotFound, "docker save"},
		"a Docker archive for an OCI":  {"oci-archive:" + dir + "/one.tar", source.ErrNotFound, ""},
		"another name of a Docker one": {"docker-archive:" + dir + "/one.tar:storm/two:1", source.ErrNotFound, "storm/one:1"},
		"a manifest that was changed":  {"oci:" + changed, manifest.ErrDigestMismatch, ""},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			_, err := source.Open(t.Context(), tt.name, amd64)
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestDockerArchiveByIndexAndShortName(t *testing.T) {
	dir := t.TempDir()
	writeLayout(t, dir+"/lay", map[string]v1.Image{"v1": randomImage(t, "amd64")})
	skopeo(t, "copy", "oci:"+dir+"/lay:v1", "docker-archive:"+dir+"/a.tar:docker.io/library/demo:latest")
	for _, tag := range []string{"", ":@0", ":demo:latest", ":demo", ":docker.io/library/demo:latest"} {
		image, err := source.Open(t.Context(), "docker-archive:"+dir+"/a.tar"+tag, amd64)
		if err != nil {
			t.Errorf("%q: %v", tag, err)
			continue
		}
		checkBlobs(t, image)
		image.Close()
	}
}

func TestPlainHTTPIsForThisMachineOnly(t *testing.T) {
	// 10.255.255.1 is private, so the library would try HTTP after HTTPS;
	// it must not get as far as a connection.
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_, err := source.Open(t.Context(), "10.255.255.1/storm/demo:1", amd64)
	if err == nil || !strings.Contains(err.Error(), "plain HTTP is for registries on this machine only") {
		t.Errorf("error %v", err)
	}
}

func TestParseReference(t *testing.T) {
	tests := map[string]source.Reference{
		"debian:12":                   {Transport: source.Registry, Path: "debian:12"},
		"docker://r.example:5000/a:b": {Transport: source.Registry, Path: "r.example:5000/a:b"},
		"oci:dir":                     {Transport: source.OCI, Path: "dir"},
		"oci:/a/dir:v1":               {Transport: source.OCI, Path: "/a/dir", Tag: "v1"},
		"oci-archive:f.tar:v1":        {Transport: source.OCIArchive, Path: "f.tar", Tag: "v1"},
		"docker-archive:f.tar:a/b:c":  {Transport: source.DockerArchive, Path: "f.tar", Tag: "a/b:c"},
	}
	for in, want := range tests {
		if got, err := source.ParseReference(in); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "Linux/amd64"} {
		if p, err := source.ParsePlatform(bad); err == nil {
			t.Errorf("%q is %v", bad, p)
		}
	}
	if p, err := source.ParsePlatform("linux/arm/v7"); err != nil || p.String() != "linux/arm/v7" {
		t.Errorf("%v, %v", p, err)
	}
}

// serve runs a registry on loopback.
func serve(t *testing.T) (host string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func push(t *testing.T, ref string, index v1.ImageIndex) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(r, index); err != nil {
		t.Fatal(err)
	}
}

func randomImage(t *testing.T, arch string) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for range 3 {
		l, err := random.Layer(2000, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func writeLayout(t *testing.T, dir string, images map[string]v1.Image) {
	t.Helper()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for tag, image := range images {
		if err := l.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})); err != nil {
			t.Fatal(err)
		}
	}
}

// skopeo runs the program and returns its output.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %v: %v: %s", args, err, stderr.String())
	}
	return out
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
