package admin_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

func TestRemoveImages(t *testing.T) {
	for name, tt := range map[string]struct {
		names func(old, twin, other digest.Digest) []string
		gone  []string // layers
		tags  string   // that are left
	}{
		"by a tag":           {func(old, _, _ digest.Digest) []string { return []string{"storm/old:1"} }, []string{"old"}, "storm/other storm/twin"},
		"by its hash":        {func(old, _, _ digest.Digest) []string { return []string{old.Encoded()} }, []string{"old"}, "storm/other storm/twin"},
		"by its digest":      {func(old, _, _ digest.Digest) []string { return []string{old.String()} }, []string{"old"}, "storm/other storm/twin"},
		"of a shared config": {func(_, twin, _ digest.Digest) []string { return []string{"storm/twin"} }, nil, "storm/old:1 storm/old:2 storm/other"},
		"of two, one twice": {func(old, twin, _ digest.Digest) []string {
			return []string{"storm/old:1", "storm/old:2", "storm/other"}
		}, []string{"old", "other"}, "storm/twin"},
		"of all": {func(old, twin, other digest.Digest) []string {
			return []string{"storm/old:1", "storm/other", "storm/twin"}
		}, []string{"base", "old", "other", "twin"}, ""},
		"of one without tags": {func(_, _, other digest.Digest) []string { return []string{other.Encoded()} }, []string{"other"}, "storm/old:1 storm/old:2 storm/twin"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			old := s.addImage(t, "storm/old:1,storm/old:2", "base", "old")
			other := s.addImage(t, "storm/other", "base", "other")
			twinOf := s.addImage(t, "", "base", "twin")
			// A second manifest of the same config and layers.
			m, err := manifest.Parse([]byte(s.read(t, manifest.ManifestFile(twinOf))), twinOf)
			if err != nil {
				t.Fatal(err)
			}
			twin := s.addManifest(t, "storm/twin", *m, map[string]string{"second": "true"})
			if strings.Contains(name, "of all") {
				s.remove(t, manifest.ManifestFile(twinOf))
			}
			s.removeAsPlanned(t, tt.names(old, twin, other))
			tags, _ := manifest.ParseTags([]byte(s.read(t, manifest.TagFile)))
			if got := strings.Join(tags.All(), " "); got != tt.tags {
				t.Errorf("tags %q, want %q", got, tt.tags)
			}
			for _, tag := range tags.All() {
				s.wantWhole(t, tag)
			}
			for _, word := range tt.gone {
				if slices.Contains(s.files(t), manifest.LayerFile(layer(word))) {
					t.Errorf("layer %s is still there", word)
				}
			}
		})
	}
}

// removeAsPlanned removes images, after a dry run that must say the same.
func (s *testStore) removeAsPlanned(t *testing.T, names []string) {
	t.Helper()
	before := s.files(t)
	s.DryRun = true
	plan, err := s.RemoveImages(t.Context(), names)
	if err != nil || !slices.Equal(s.files(t), before) {
		t.Fatalf("the dry run: %v, %q", err, s.files(t))
	}
	s.DryRun = false
	report, err := s.RemoveImages(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	for i, image := range report.Images {
		if !slices.Equal(image.Files, plan.Images[i].Files) || !slices.Equal(image.Tags, plan.Images[i].Tags) {
			t.Errorf("%+v, the dry run says %+v", image, plan.Images[i])
		}
	}
}

func TestRemoveImageRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(t *testing.T, s *testStore)
		name string
		want error
		says string
	}{
		"an unknown tag":           {nil, "storm/none", admin.ErrUnknownImage, "storm/none"},
		"an unknown hash":          {nil, strings.Repeat("a", 64), admin.ErrUnknownImage, "manifest"},
		"a digest that leads out":  {nil, "sha256:../../../../etc/passwd", admin.ErrUnknownImage, "neither"},
		"another unknown manifest": {func(t *testing.T, s *testStore) { s.put(t, manifest.ManifestFile(digest.FromString("x")), []byte("x")) }, "storm/a", admin.ErrUnknownReferences, "remove-image"},
		"another of 10 MiB": {func(t *testing.T, s *testStore) {
			s.put(t, manifest.ManifestFile(digest.FromString("x")), make([]byte, 10<<20))
		}, "storm/a", admin.ErrUnknownReferences, "larger than its limit"},
		"no tag file": {func(t *testing.T, s *testStore) { s.remove(t, manifest.TagFile) }, "storm/a", tagfile.ErrNoStore, "--bootstrap"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.addImage(t, "storm/a", "base")
			if tt.harm != nil {
				tt.harm(t, s)
			}
			before := s.files(t)
			_, err := s.RemoveImages(t.Context(), []string{tt.name})
			wantError(t, err, tt.want, tt.says)
			if !slices.Equal(s.files(t), before) {
				t.Errorf("the store now has %q", s.files(t))
			}
			if name != "no tag file" {
				s.wantWhole(t, "storm/a")
			}
		})
	}
}

// forbidding is a store one of whose files only its owner may read.
type forbidding struct {
	store.Writer
	name string
}

func (f forbidding) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.Writer.ReadFile(ctx, name, limit)
}

// TestManifestsThatOnlyTheOwnerMayRead lets neither removal nor cleanup guess
// what a dead manifest of another user names.
func TestManifestsThatOnlyTheOwnerMayRead(t *testing.T) {
	s := newStore(t)
	s.addImage(t, "storm/a", "base", "a")
	dead := s.addImage(t, "", "base")
	s.Store = forbidding{s.Store, manifest.ManifestFile(dead)}
	before := s.files(t)
	_, err := s.RemoveImages(t.Context(), []string{"storm/a"})
	wantError(t, err, admin.ErrUnknownReferences, "run the command as that user")
	_, err = s.RemoveImages(t.Context(), []string{dead.Encoded()})
	wantError(t, err, fs.ErrPermission, "only the owner")
	_, err = s.Cleanup(t.Context(), admin.CleanupOptions{Unreferenced: true})
	wantError(t, err, admin.ErrUnknownReferences, "only the owner")
	s.remove(t, publish.MarkerFile(dead)) // all that cleanup has done
	if !slices.Equal(s.files(t), before) {
		t.Errorf("the store now has %q", s.files(t))
	}
	s.wantWhole(t, "storm/a")
}

// TestRemoveAMalformedManifest gets rid of what keeps cleanup from deleting.
func TestRemoveAMalformedManifest(t *testing.T) {
	s := newStore(t)
	s.addImage(t, "storm/a", "base")
	bad := digest.FromString("x")
	s.put(t, manifest.ManifestFile(bad), make([]byte, 10<<20))
	if _, err := s.RemoveImages(t.Context(), []string{bad.Encoded()}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.files(t), manifest.ManifestFile(bad)) {
		t.Error("it is still there")
	}
	s.wantWhole(t, "storm/a")
}

// failing fails every Remove after a number of good ones, as a crash would.
type failing struct {
	store.Writer
	left int
}

var errCrash = errors.New("crash")

func (f *failing) Remove(ctx context.Context, name string) error {
	if f.left--; f.left < 0 {
		return errCrash
	}
	return f.Writer.Remove(ctx, name)
}

// TestARemovalGoesOn cuts a removal short after each of its steps and repeats
// it with the hash.
func TestARemovalGoesOn(t *testing.T) {
	for n := 0; ; n++ {
		s := newStore(t)
		d := s.addImage(t, "storm/old", "base", "old")
		s.addImage(t, "storm/new", "base")
		s.put(t, publish.MarkerFile(d), nil)
		whole := s.Store
		s.Store = &failing{Writer: whole, left: n}
		_, err := s.RemoveImages(t.Context(), []string{"storm/old"})
		if err == nil {
			if n != 5 { // layer, identity, config, manifest, marker
				t.Errorf("it takes %d steps", n)
			}
			return
		}
		wantError(t, err, errCrash, "remove ")
		s.Store = whole
		s.wantWhole(t, "storm/new")
		if _, err := s.RemoveImages(t.Context(), []string{d.Encoded()}); err != nil {
			t.Errorf("after %d steps: %v", n, err)
		}
		if left := s.files(t); len(left) != 4 {
			t.Errorf("after %d steps and a repetition: %q", n, left)
		}
	}
}

func TestAddTagRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		harm  func(t *testing.T, s *testStore, d digest.Digest)
		image string
		tag   string
		want  error
		says  string
	}{
		"a hash that is not there": {nil, strings.Repeat("a", 64), "storm/b", store.ErrManifestMissing, "pull-build-push-update"},
		"an image elsewhere":       {nil, "registry/x", "storm/b", store.ErrManifestMissing, "pull-build-push-update"},
		"an unknown image":         {nil, "nowhere/x", "storm/b", errNowhere, "is no tag of the store"},
		"a layer gone":             {func(t *testing.T, s *testStore, _ digest.Digest) { s.remove(t, manifest.LayerFile(layer("base"))) }, "storm/a", "storm/b", store.ErrLayerMissing, "is incomplete"},
		"a layer cut short": {func(t *testing.T, s *testStore, _ digest.Digest) {
			s.put(t, manifest.LayerFile(layer("base")), []byte("hsqs"))
		}, "storm/a", "storm/b", store.ErrIdentityMismatch, "is incomplete"},
		"a lying manifest": {func(t *testing.T, s *testStore, d digest.Digest) { s.put(t, manifest.ManifestFile(d), []byte("{}")) }, "storm/a", "storm/b", manifest.ErrDigestMismatch, ""},
		"a huge manifest": {func(t *testing.T, s *testStore, d digest.Digest) {
			s.put(t, manifest.ManifestFile(d), make([]byte, 10<<20))
		}, "storm/a", "storm/b", store.ErrTooLarge, ""},
		"a bad tag":    {nil, "storm/a", "Storm B", admin.ErrBadRequest, `"Storm B"`},
		"an empty tag": {nil, "storm/a", "", admin.ErrBadRequest, `""`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d := s.addImage(t, "storm/a", "base")
			if tt.harm != nil {
				tt.harm(t, s, d)
			}
			before := s.read(t, manifest.TagFile)
			_, err := s.AddTags(t.Context(), []admin.Tagging{{Image: tt.image, Tags: []string{tt.tag}}}, lookup)
			wantError(t, err, tt.want, tt.says)
			if after := s.read(t, manifest.TagFile); after != before {
				t.Errorf("the tag file is %q now", after)
			}
		})
	}
}

var errNowhere = errors.New("nowhere")

func lookup(_ context.Context, image string) (digest.Digest, error) {
	if strings.HasPrefix(image, "registry/") {
		return digest.FromString(image), nil
	}
	return "", errNowhere
}

func TestRemoveTags(t *testing.T) {
	s := newStore(t)
	s.addImage(t, "storm/a:1,storm/a:2", "base")
	s.addImage(t, "storm/b", "base", "b")
	if _, err := s.RemoveTags(t.Context(), []string{"storm/a:1", "storm/none"}); !errors.Is(err, admin.ErrUnknownImage) {
		t.Errorf("%v", err)
	}
	change, err := s.RemoveTags(t.Context(), []string{"storm/a:1", "storm/b", "storm/b"})
	if err != nil || len(change.Images) != 2 {
		t.Fatalf("%+v, %v", change, err)
	}
	tags, _ := manifest.ParseTags([]byte(s.read(t, manifest.TagFile)))
	if got := strings.Join(tags.All(), " "); got != "storm/a:2" {
		t.Errorf("tags %s", got)
	}
	s.wantWhole(t, "storm/a:2")
	if _, err := os.Stat(s.path(manifest.LayerFile(layer("b")))); err != nil {
		t.Error(err)
	}
}
