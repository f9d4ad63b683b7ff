package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// seedManifest is the hash of the manifest in Storm's OCI-support.md.
const seedManifest = "26fd443859325d5911f3be5c5e231dddca88ee0d526456c0c92dd794148d8585"

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The example of Storm's documentation, byte by byte: its hash is its name.
func TestParseSeedManifest(t *testing.T) {
	m, err := manifest.Parse(testdata(t, seedManifest), digest.Digest("sha256:"+seedManifest))
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Size != 7877 || m.Config.Digest.Encoded()[:8] != "ef1ff2c7" || len(m.Layers) != 7 {
		t.Errorf("config %+v, %d layers", m.Config, len(m.Layers))
	}
	first, last := m.Layers[0], m.Layers[6]
	if first.Size != 26858854 || first.Digest.Encoded()[:8] != "3692c348" || last.Size != 156 {
		t.Errorf("layers are out of order: first %+v, last %+v", first, last)
	}
}

func digestOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// document writes a manifest with parts that a test row replaces.
func document(mediaType, configType, configDigest, layerType, layerDigest string, layers int) string {
	layer := fmt.Sprintf(`{"mediaType":%q,"size":1,"digest":%q}`, layerType, layerDigest)
	list := strings.TrimSuffix(strings.Repeat(layer+",", layers), ",")
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":1,"digest":%q},"layers":[%s]}`,
		mediaType, configType, configDigest, list)
}

func TestParse(t *testing.T) {
	const (
		kind   = manifest.MediaTypeDockerManifest
		config = manifest.MediaTypeDockerConfig
		layer  = manifest.MediaTypeDockerLayerGzip
	)
	good := document(kind, config, digestOf("a"), layer, digestOf("b"), 2)
	for _, c := range []struct {
		name, content string
		want          error
	}{
		{"docker", good, nil},
		{"unknown members", strings.Replace(good, "{", `{"annotations":{"a":"b"},"subject":null,`, 1), nil},
		{"oci", document(manifest.MediaTypeOCIManifest, manifest.MediaTypeOCIConfig, digestOf("a"), manifest.MediaTypeOCILayerZstd, digestOf("b"), 1), nil},
		{"no media type", document("", manifest.MediaTypeOCIConfig, digestOf("a"), manifest.MediaTypeOCILayer, digestOf("b"), 1), nil},
		{"most layers", document(kind, config, digestOf("a"), layer, digestOf("b"), manifest.MaxLayers), nil},
		{"too many layers", document(kind, config, digestOf("a"), layer, digestOf("b"), manifest.MaxLayers+1), manifest.ErrUnsupported},
		{"no layers", document(kind, config, digestOf("a"), layer, digestOf("b"), 0), manifest.ErrMalformed},
		{"index", document("application/vnd.oci.image.index.v1+json", config, digestOf("a"), layer, digestOf("b"), 1), manifest.ErrUnsupported},
		{"schema 1", strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":1`, 1), manifest.ErrUnsupported},
		{"foreign layer", document(kind, config, digestOf("a"), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digestOf("b"), 1), manifest.ErrUnsupported},
		{"config of a chart", document(kind, "application/vnd.cncf.helm.config.v1+json", digestOf("a"), layer, digestOf("b"), 1), manifest.ErrUnsupported},
		{"sha512", document(kind, config, digestOf("a"), layer, "sha512:"+strings.Repeat("b", 128), 1), manifest.ErrMalformed},
		{"digest that is a path", document(kind, config, digestOf("a"), layer, "sha256:../../../etc/passwd", 1), manifest.ErrMalformed},
		{"digest in capitals", document(kind, config, digestOf("A"), layer, digestOf("b"), 1), manifest.ErrMalformed},
		{"digest too short", document(kind, config, digestOf("a")[:70], layer, digestOf("b"), 1), manifest.ErrMalformed},
		{"digest with a line break", document(kind, config, digestOf("a")+"\n", layer, digestOf("b"), 1), manifest.ErrMalformed},
		{"negative size", strings.Replace(good, `"size":1`, `"size":-1`, 1), manifest.ErrMalformed},
		{"size that is too big", strings.Replace(good, `"size":1`, `"size":99999999999999999999`, 1), manifest.ErrMalformed},
		{"cut off", good[:len(good)-1], manifest.ErrMalformed},
		{"two documents", good + good, manifest.ErrMalformed},
		{"empty", "", manifest.ErrMalformed},
		{"null", "null", manifest.ErrUnsupported},
		{"too large", good + strings.Repeat(" ", manifest.MaxManifestSize), manifest.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := manifest.Parse([]byte(c.content), digest.FromString(c.content))
			if !errors.Is(err, c.want) || (m == nil) != (err != nil) {
				t.Errorf("%v, %v, want %v", m, err, c.want)
			}
		})
	}
	if _, err := manifest.Parse([]byte(good), digest.Digest(digestOf("c"))); !errors.Is(err, manifest.ErrDigestMismatch) {
		t.Errorf("other content: %v, want %v", err, manifest.ErrDigestMismatch)
	}
	if _, err := manifest.Parse([]byte(good), "sha256:x"); !errors.Is(err, manifest.ErrMalformed) {
		t.Errorf("asked for a bad digest: %v, want %v", err, manifest.ErrMalformed)
	}
}

func TestParseSeedConfig(t *testing.T) {
	content := testdata(t, "config.json")
	c, err := manifest.ParseConfig(content, digest.FromBytes(content))
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "amd64" || c.OS != "linux" || c.Entrypoint != nil {
		t.Errorf("%+v", c)
	}
	if len(c.Env) != 8 || c.Env[0] != "X_SCLS=rh-git218" || c.Env[7] != "JAVA_HOME=/home/y/share/yjava_jdk/java" {
		t.Errorf("env %q", c.Env)
	}
	if len(c.DiffIDs) != 7 || c.DiffIDs[0].Encoded()[:8] != "9f627fdb" {
		t.Errorf("diff ids %q", c.DiffIDs)
	}
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          error
	}{
		{"empty object", `{}`, nil},
		{"no config", `{"os":"linux","rootfs":{"diff_ids":["` + digestOf("a") + `"]}}`, nil},
		{"entrypoint", `{"config":{"Entrypoint":["/init","--"]}}`, nil},
		{"entrypoint in shell form", `{"config":{"Entrypoint":"/init"}}`, manifest.ErrMalformed},
		{"bad diff id", `{"rootfs":{"diff_ids":["x"]}}`, manifest.ErrMalformed},
		{"NUL in the environment", `{"config":{"Env":["A=\u0000"]}}`, manifest.ErrMalformed},
		{"NUL in the entrypoint", `{"config":{"Entrypoint":["\u0000"]}}`, manifest.ErrMalformed},
		{"cut off", `{"config":`, manifest.ErrMalformed},
		{"too large", strings.Repeat(" ", manifest.MaxConfigSize) + "{}", manifest.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := manifest.ParseConfig([]byte(c.content), digest.FromString(c.content))
			if !errors.Is(err, c.want) || (conf == nil) != (err != nil) {
				t.Errorf("%v, %v, want %v", conf, err, c.want)
			}
		})
	}
	if _, err := manifest.ParseConfig([]byte(`{}`), digest.Digest(digestOf("a"))); !errors.Is(err, manifest.ErrDigestMismatch) {
		t.Errorf("other content: %v, want %v", err, manifest.ErrDigestMismatch)
	}
}

func TestIdentity(t *testing.T) {
	want := manifest.Identity{
		Digest: digest.Digest(digestOf("a")), Size: 4096, DiffID: digest.Digest(digestOf("b")), Compression: "zstd",
	}
	content, err := want.Format()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := manifest.ParseIdentity(content); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for name, bad := range map[string]string{
		"no digest":  strings.Replace(string(content), digestOf("a"), "", 1),
		"bad diffID": strings.Replace(string(content), digestOf("b"), "sha256:..", 1),
		"no size":    strings.Replace(string(content), "4096", "0", 1),
		"fraction":   strings.Replace(string(content), "4096", "4096.5", 1),
		"cut off":    string(content[:20]),
		"too large":  string(content) + strings.Repeat(" ", manifest.MaxIdentitySize),
	} {
		if _, err := manifest.ParseIdentity([]byte(bad)); !errors.Is(err, manifest.ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, manifest.ErrMalformed)
		}
	}
}

func TestNames(t *testing.T) {
	d, h := digest.Digest(digestOf("a")), strings.Repeat("a", 64)
	for got, want := range map[string]string{
		manifest.LayerFile(d):    "layers/" + h + ".sqsh",
		manifest.IdentityFile(d): "layers/" + h + ".sqsh.json",
		manifest.ConfigFile(d):   "config/" + h,
		manifest.ManifestFile(d): "manifests/" + h,
	} {
		if got != want {
			t.Errorf("%s, want %s as in Storm", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(testdata(f, seedManifest))
	f.Add([]byte(document("", manifest.MediaTypeOCIConfig, digestOf("a"), manifest.MediaTypeOCILayer, digestOf("b"), 1)))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := manifest.Parse(content, digest.FromBytes(content))
		if err != nil {
			return
		}
		for _, d := range append([]manifest.Descriptor{m.Config}, m.Layers...) {
			if name := manifest.LayerFile(d.Digest); filepath.Dir(name) != manifest.LayersDir || d.Size < 0 {
				t.Errorf("%+v passed; its file would be %q", d, name)
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add(testdata(f, "config.json"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := manifest.ParseConfig(content, digest.FromBytes(content))
		if err != nil {
			return
		}
		for _, word := range append(c.Env, c.Entrypoint...) {
			if strings.Contains(word, "\x00") {
				t.Errorf("%q passed", word)
			}
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(`{"digest":"` + digestOf("a") + `","size":1,"diffID":"` + digestOf("b") + `","compression":"zstd"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		id, err := manifest.ParseIdentity(content)
		if err != nil {
			return
		}
		again, err := id.Format()
		if err != nil {
			t.Fatal(err)
		}
		// The compression may hold what JSON writes in more bytes.
		if got, err := manifest.ParseIdentity(again); err == nil && (got.Digest != id.Digest || got.Size != id.Size || got.DiffID != id.DiffID) {
			t.Errorf("%+v became %+v", id, got)
		}
	})
}

func FuzzParseTags(f *testing.F) {
	f.Add(testdata(f, "image-tag-to-hash"))
	f.Add([]byte("a,b:" + strings.Repeat("a", 64) + "#c, d\r\n,:" + strings.Repeat("b", 64) + "\n#x\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tags, _ := manifest.ParseTags(content)
		written := tags.Format()
		again, warnings := manifest.ParseTags(written)
		if len(warnings) > 0 {
			t.Errorf("what was written has faults: %q", warnings)
		}
		if !bytes.Equal(again.Format(), written) {
			t.Errorf("%q became %q", written, again.Format())
		}
		for _, tag := range tags.All() {
			want, _ := tags.Lookup(tag)
			if got, ok := again.Lookup(tag); !ok || got != want {
				t.Errorf("%q: %q became %q", tag, want, got)
			}
		}
	})
}
