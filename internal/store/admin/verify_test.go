package admin_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// TestVerify harms a store of two images in every way and looks at the
// verdict: KIND FILE, with the files of the first image by their part in it.
func TestVerify(t *testing.T) {
	var (
		base   = manifest.LayerFile(layer("base"))
		baseID = manifest.IdentityFile(layer("base"))
		own    = manifest.LayerFile(layer("a"))
		nobody = digest.FromString("nobody")
	)
	identity := func(t *testing.T, s *testStore, size int64, diff digest.Digest) {
		id, err := manifest.Identity{Digest: digest.FromBytes(layerFile(t, "base")), Size: size, DiffID: diff, Compression: "gzip"}.Format()
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, baseID, id)
	}
	line := func(t *testing.T, s *testStore, text string) {
		s.put(t, manifest.TagFile, []byte(s.read(t, manifest.TagFile)+text+"\n"))
	}
	size := int64(len(layerFile(t, "base")))
	for name, tt := range map[string]struct {
		harm func(t *testing.T, s *testStore, d digest.Digest)
		want []string
		tags string // that the first finding hurts
	}{
		"nothing": {func(*testing.T, *testStore, digest.Digest) {}, nil, ""},
		"a layer is missing": {
			func(t *testing.T, s *testStore, _ digest.Digest) { s.remove(t, own) },
			[]string{"missing " + own, "unreferenced " + manifest.IdentityFile(layer("a"))},
			"storm/a",
		},
		"a layer is cut short":           {func(t *testing.T, s *testStore, _ digest.Digest) { s.put(t, base, layerFile(t, "base")[:100]) }, []string{"altered " + base}, "storm/a storm/b"},
		"a layer has another bit":        {func(t *testing.T, s *testStore, _ digest.Digest) { s.put(t, base, layerFile(t, "bath")) }, []string{"altered " + base}, "storm/a storm/b"},
		"a layer has no identity":        {func(t *testing.T, s *testStore, _ digest.Digest) { s.remove(t, baseID) }, []string{"unidentified " + base}, "storm/a storm/b"},
		"such a layer is no squashfs":    {func(t *testing.T, s *testStore, _ digest.Digest) { s.remove(t, baseID); s.put(t, base, []byte("x")) }, []string{"malformed " + base}, "storm/a storm/b"},
		"an identity lies about size":    {func(t *testing.T, s *testStore, _ digest.Digest) { identity(t, s, size+1, diffID("base")) }, []string{"altered " + base}, "storm/a storm/b"},
		"an identity lies about archive": {func(t *testing.T, s *testStore, _ digest.Digest) { identity(t, s, size, nobody) }, []string{"altered " + baseID}, "storm/a storm/b"},
		"an identity is no JSON":         {func(t *testing.T, s *testStore, _ digest.Digest) { s.put(t, baseID, []byte("{")) }, []string{"malformed " + baseID}, "storm/a storm/b"},
		"an identity of nothing": {func(t *testing.T, s *testStore, _ digest.Digest) {
			s.put(t, manifest.IdentityFile(nobody), []byte(s.read(t, baseID)))
		}, []string{"unreferenced " + manifest.IdentityFile(nobody)}, ""},
		"a layer of nothing": {func(t *testing.T, s *testStore, _ digest.Digest) {
			s.put(t, manifest.LayerFile(nobody), layerFile(t, "base"))
		}, []string{"unidentified " + manifest.LayerFile(nobody), "unreferenced " + manifest.LayerFile(nobody)}, ""},
		"a manifest is missing": {
			func(t *testing.T, s *testStore, d digest.Digest) { s.remove(t, manifest.ManifestFile(d)) },
			[]string{"unreferenced config/of a", "unreferenced " + own, "missing manifest of a"},
			"",
		},
		"a manifest is altered": {func(t *testing.T, s *testStore, d digest.Digest) { s.put(t, manifest.ManifestFile(d), []byte("{}")) }, []string{"altered manifest of a"}, "storm/a"},
		"a manifest of 10 MiB": {func(t *testing.T, s *testStore, d digest.Digest) {
			s.put(t, manifest.ManifestFile(d), make([]byte, 10<<20))
		}, []string{"malformed manifest of a"}, "storm/a"},
		"a digest that leads out":   {leadingOut, []string{"malformed manifest of x"}, "storm/x"},
		"a tagged manifest is dead": {func(t *testing.T, s *testStore, d digest.Digest) { chmod(t, s.path(manifest.ManifestFile(d)), 0o400) }, []string{"unreadable manifest of a"}, "storm/a"},
		"a config is missing":       {func(t *testing.T, s *testStore, d digest.Digest) { s.remove(t, s.configOf(t, d)) }, []string{"missing config/of a"}, "storm/a"},
		"a config is altered":       {func(t *testing.T, s *testStore, d digest.Digest) { s.put(t, s.configOf(t, d), []byte("{}")) }, []string{"altered config/of a"}, "storm/a"},
		"a marker of nothing":       {func(t *testing.T, s *testStore, _ digest.Digest) { s.put(t, publish.MarkerFile(nobody), nil) }, []string{"unreferenced " + publish.MarkerFile(nobody)}, ""},
		"files of somebody": {func(t *testing.T, s *testStore, _ digest.Digest) {
			s.put(t, "layers/x", nil)
			s.put(t, "manifests/README", nil)
		}, []string{"stray layers/x", "stray manifests/README"}, ""},
		"a line without a colon": {func(t *testing.T, s *testStore, _ digest.Digest) { line(t, s, "storm") }, []string{"malformed " + manifest.TagFile}, ""},
		"a line without a hash":  {func(t *testing.T, s *testStore, _ digest.Digest) { line(t, s, "storm/x:1") }, []string{"malformed " + manifest.TagFile}, ""},
		"a line of a short hash": {func(t *testing.T, s *testStore, _ digest.Digest) { line(t, s, "storm/x:abc") }, []string{"malformed " + manifest.TagFile}, ""},
		"a line of upper case":   {func(t *testing.T, s *testStore, _ digest.Digest) { line(t, s, "storm/x:"+strings.Repeat("A", 64)) }, []string{"malformed " + manifest.TagFile}, ""},
		"a line that leads out": {func(t *testing.T, s *testStore, _ digest.Digest) {
			line(t, s, "storm/x:../../"+strings.Repeat("a", 58))
		}, []string{"malformed " + manifest.TagFile}, ""},
		"a line of an empty tag":     {func(t *testing.T, s *testStore, d digest.Digest) { line(t, s, ":"+d.Encoded()) }, []string{"malformed " + manifest.TagFile}, ""},
		"a tag twice":                {func(t *testing.T, s *testStore, d digest.Digest) { line(t, s, "storm/b:"+d.Encoded()) }, []string{"malformed " + manifest.TagFile}, ""},
		"a tag that leads nowhere":   {func(t *testing.T, s *testStore, _ digest.Digest) { line(t, s, "storm/x:"+nobody.Encoded()) }, []string{"missing " + manifest.ManifestFile(nobody)}, "storm/x"},
		"an image without tags":      {func(t *testing.T, s *testStore, _ digest.Digest) { s.addImage(t, "", "c") }, nil, ""},
		"comments and blank lines":   {func(t *testing.T, s *testStore, d digest.Digest) { line(t, s, "# x\n\nstorm/x:"+d.Encoded()+"# a, b ") }, nil, ""},
		"leftovers of the backend":   {func(t *testing.T, s *testStore, _ digest.Digest) { s.put(t, "layers/.upload-x.y", nil) }, nil, ""},
		"a squashfs claims too much": {claiming, []string{"malformed " + base}, "storm/a storm/b"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d := s.addImage(t, "storm/a", "base", "a")
			s.addImage(t, "storm/b", "base", "b")
			config := s.configOf(t, d)
			tt.harm(t, s, d)
			v, err := s.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			faults := 0
			for _, f := range v.Findings {
				file := strings.NewReplacer(config, "config/of a", manifest.ManifestFile(d), "manifest of a", manifest.ManifestFile(outside), "manifest of x").Replace(f.File)
				got = append(got, fmt.Sprintf("%s %s", f.Kind, file))
				if f.Kind != admin.Unidentified {
					faults++
				}
				if f.Detail == "" {
					t.Errorf("%s %s: it does not say what is wrong", f.Kind, f.File)
				}
			}
			want := tt.want
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("findings %q, want %q", got, want)
			}
			if v.Faults != faults {
				t.Errorf("%d faults of %q", v.Faults, got)
			}
			if len(v.Findings) > 0 && strings.Join(v.Findings[0].Tags, " ") != tt.tags && len(want) == 1 {
				t.Errorf("it hurts %q, want %q", v.Findings[0].Tags, tt.tags)
			}
		})
	}
}

// outside is the manifest that leadingOut makes.
var outside = digest.FromString(outsideManifest)

var outsideManifest = fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"size":2,"digest":"sha256:../../etc/passwd"},"layers":[{"mediaType":%q,"size":1,"digest":"sha256:../x"}]}`,
	manifest.MediaTypeOCIConfig, manifest.MediaTypeOCILayerGzip)

func leadingOut(t *testing.T, s *testStore, _ digest.Digest) {
	s.put(t, manifest.ManifestFile(outside), []byte(outsideManifest))
	s.put(t, manifest.TagFile, []byte(s.read(t, manifest.TagFile)+"storm/x:"+outside.Encoded()+"\n"))
}

// claiming makes a layer that says it is longer than its file, and that its
// identity describes as it is.
func claiming(t *testing.T, s *testStore, _ digest.Digest) {
	content := bytes.Clone(layerFile(t, "base"))
	content[40+3] = 0x7f // the length of a squashfs is at 40, little-endian
	s.put(t, manifest.LayerFile(layer("base")), content)
	id, err := manifest.Identity{Digest: digest.FromBytes(content), Size: int64(len(content)), DiffID: diffID("base"), Compression: "gzip"}.Format()
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, manifest.IdentityFile(layer("base")), id)
}

func (s *testStore) configOf(t *testing.T, d digest.Digest) string {
	t.Helper()
	m, err := manifest.Parse([]byte(s.read(t, manifest.ManifestFile(d))), d)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.ConfigFile(m.Config.Digest)
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}
