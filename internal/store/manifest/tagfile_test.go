package manifest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

func TestParseSeedTags(t *testing.T) {
	content := testdata(t, "image-tag-to-hash")
	tags, warnings := manifest.ParseTags(content)
	d, ok := tags.Lookup("storm/rhel7:dev_current")
	if !ok || d.Encoded() != seedManifest || len(warnings) > 0 {
		t.Errorf("%q, %v, %q", d, ok, warnings)
	}
	if got := string(tags.Format()); got != string(content) {
		t.Errorf("written back as %q, want %q", got, content)
	}
}

func TestParseTags(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, c := range []struct {
		name, content string
		// want is the file as it is written back.
		want     string
		warnings []string
	}{
		{"empty", "", "", nil},
		{"no line feed at the end", "t:" + a, "t:" + a + "\n", nil},
		{"several tags", "z:1,y:2:" + a + "\n", "y:2,z:1:" + a + "\n", nil},
		{"port of a registry", "host:443/repo/name:tag:" + a + "\n", "host:443/repo/name:tag:" + a + "\n", nil},
		{"comments", "t:" + a + "#z, y,z\n", "t:" + a + "#y, z\n", nil},
		{"hash in a comment", "t:" + a + "#x:" + b + "\n", "t:" + a + "#x:" + b + "\n", nil},
		{"second # in a comment", "t:" + a + "#x#y\n", "t:" + a + "#x#y\n", nil},
		{"lines of one hash", "t:" + a + "#x\nu:" + a + "#y\n", "t,u:" + a + "#x, y\n", nil},
		{"lines are sorted", "z:" + a + "\ny:" + b + "\n", "y:" + b + "\nz:" + a + "\n", nil},
		// Storm's reader on the node would drop these two.
		{"blank before #", "t:" + a + " #x\n", "t:" + a + "#x\n", nil},
		{"carriage return", "t:" + a + "\r\nu:" + b + " \n", "t:" + a + "\nu:" + b + "\n", nil},
		{"comment line and empty lines", "# all of it\n\n   \nt:" + a + "\n", "t:" + a + "\n", nil},
		{
			"the last one counts", "t:" + a + "\nt:" + b + "\n", "t:" + b + "\n",
			[]string{`line 2: tag "t" stood before with another hash; the last one counts`},
		},
		{"said twice", "t:" + a + "\nt:" + a + "\n", "t:" + a + "\n", nil},
		{
			"no colon", "nothing\nt:" + a + "\n", "t:" + a + "\n",
			[]string{"line 1: no ':' between tag and manifest hash"},
		},
		{
			"bad hash", "u:xyz\nt:" + a + "\n", "t:" + a + "\n",
			[]string{`line 1: "xyz" is not a sha256 hash of 64 lower-case hex digits`},
		},
		{
			// Storm's reader takes any 64 letters and digits.
			"64 letters that are not hex", "u:" + strings.Repeat("z", 64) + "\nt:" + a + "\n", "t:" + a + "\n",
			[]string{`line 1: "` + strings.Repeat("z", 64) + `" is not a sha256 hash of 64 lower-case hex digits`},
		},
		{"blank at the end", "t:" + a + " \n", "t:" + a + "\n", nil},
		{
			"no hash", "t:\n:\nu:" + a + "\n", "u:" + a + "\n",
			[]string{`line 1: "" is not a sha256 hash of 64 lower-case hex digits`, `line 2: "" is not a sha256 hash of 64 lower-case hex digits`},
		},
		{
			"hash with its algorithm", "t:sha256:" + a + "\n", "t:sha256:" + a + "\n", nil,
		},
		{
			"hash in capitals", "u:" + strings.ToUpper(a) + "\n", "",
			[]string{`line 1: "` + strings.ToUpper(a) + `" is not a sha256 hash of 64 lower-case hex digits`},
		},
		{
			"hash that is a path", "u:../../" + a[6:] + "\n", "",
			[]string{`line 1: "../../` + a[6:] + `" is not a sha256 hash of 64 lower-case hex digits`},
		},
		{
			"empty tag", ":" + a + "\nt,:" + b + "\n", "t:" + b + "\n",
			[]string{"line 1: tag cannot stand in a tag file: it is empty", "line 2: tag cannot stand in a tag file: it is empty"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tags, warnings := manifest.ParseTags([]byte(c.content))
			if got := string(tags.Format()); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if !slices.Equal(warnings, c.warnings) {
				t.Errorf("warnings %q, want %q", warnings, c.warnings)
			}
		})
	}
}

func TestSetRefusesWhatTheFileCannotHold(t *testing.T) {
	d := digest.Digest(digestOf("a"))
	for _, tag := range []string{"", "a,b", "a#b", "a\nb", "a\r", " a", "a\t"} {
		var tags manifest.Tags
		if err := tags.Set(tag, d); !errors.Is(err, manifest.ErrBadTag) {
			t.Errorf("%q: %v, want %v", tag, err, manifest.ErrBadTag)
		}
		if got := tags.Format(); len(got) > 0 {
			t.Errorf("%q was set: %q", tag, got)
		}
	}
}

func TestTagsRemoveAndComments(t *testing.T) {
	var tags manifest.Tags
	a, b := digest.Digest(digestOf("a")), digest.Digest(digestOf("b"))
	for tag, d := range map[string]digest.Digest{"x": a, "y": a, "z": b} {
		if err := tags.Set(tag, d); err != nil {
			t.Fatal(err)
		}
	}
	tags.AddComment(a, "source")
	tags.AddComment(a, " source ")
	tags.AddComment(a, "two\nlines")
	tags.AddComment(b, "goes with its tags")
	tags.Remove("z")
	tags.Remove("never was")
	if got, want := string(tags.Format()), "x,y:"+a.Encoded()+"#source\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := tags.All(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("%q", got)
	}
}

// A hostile tag file may not make its reader say or hold much more than it has.
func TestParseTagsIsBounded(t *testing.T) {
	a := strings.Repeat("a", 64)
	_, warnings := manifest.ParseTags([]byte(strings.Repeat("x\n", 1<<17)))
	if len(warnings) != 101 || warnings[100] != fmt.Sprintf("and %d more lines", 1<<17-100) {
		t.Errorf("%d warnings, the last %q", len(warnings), warnings[len(warnings)-1])
	}
	_, warnings = manifest.ParseTags([]byte("t:" + strings.Repeat("x", 1<<20) + "\n" + strings.Repeat(",", 1<<20) + ":" + a))
	for _, w := range warnings {
		if len(w) > 300 {
			t.Errorf("a warning of %d bytes", len(w))
		}
	}
	var comments strings.Builder
	comments.WriteString("t:" + a + "#")
	for i := range 50_000 {
		fmt.Fprintf(&comments, "%d,", i)
	}
	tags, _ := manifest.ParseTags([]byte(comments.String())) // quadratic, this would take minutes
	if _, ok := tags.Lookup("t"); !ok {
		t.Error("the tag is lost")
	}
}
