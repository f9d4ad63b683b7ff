package admin_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

const week = 7 * 24 * time.Hour

// age makes a file older.
func (s *testStore) age(t *testing.T, name string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(s.path(name), then, then); err != nil {
		t.Fatal(err)
	}
}

// cleanup runs a cleanup, dry first, and returns the step of an image.
func (s *testStore) cleanup(t *testing.T, d digest.Digest) admin.Step {
	t.Helper()
	before := s.files(t)
	s.DryRun = true
	dry := s.cleanupOnce(t, d)
	s.DryRun = false
	if after := s.files(t); !slices.Equal(before, after) {
		t.Errorf("a dry run made %q of %q", after, before)
	}
	step := s.cleanupOnce(t, d)
	if dry.State != step.State || dry.Action != step.Action || !slices.Equal(dry.Files, step.Files) {
		t.Errorf("the dry run says %+v, the real one %+v", dry, step)
	}
	return step
}

func (s *testStore) cleanupOnce(t *testing.T, d digest.Digest) admin.Step {
	t.Helper()
	report, err := s.Cleanup(t.Context(), admin.CleanupOptions{Transition: week})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report.Images, func(s admin.Step) bool { return s.ManifestDigest == d })
	if i < 0 {
		return admin.Step{}
	}
	return report.Images[i]
}

// TestAnImagesWholeLife follows an image from its last tag to its end, a step
// a run, while another that shares a layer lives on.
func TestAnImagesWholeLife(t *testing.T) {
	s := newStore(t)
	d := s.addImage(t, "", "base", "old")
	s.addImage(t, "storm/new", "base", "new")
	marker := publish.MarkerFile(d)
	for _, want := range []struct {
		state  admin.State
		action admin.Action
		wait   time.Duration // before the run
	}{
		{admin.Untagged, admin.Mark, 0},
		{admin.Stale, admin.Keep, week / 2},
		{admin.Stale, admin.Kill, week + time.Minute},
		{admin.Dead, admin.Keep, 0}, // its time began anew
		{admin.Dead, admin.Delete, week + time.Minute},
		{"", "", 0},
	} {
		if want.wait > 0 {
			s.age(t, marker, want.wait)
		}
		if step := s.cleanup(t, d); step.State != want.state || step.Action != want.action {
			t.Fatalf("%s, %s; want %s, %s", step.State, step.Action, want.state, want.action)
		}
		s.wantWhole(t, "storm/new")
	}
	for _, name := range []string{manifest.ManifestFile(d), manifest.LayerFile(layer("old")), manifest.IdentityFile(layer("old")), marker} {
		if slices.Contains(s.files(t), name) {
			t.Errorf("%s is still there", name)
		}
	}
}

// TestATagBringsAnImageBack gives a dead image a tag: by add-tag, and by an
// editor, after which cleanup has to do the rest.
func TestATagBringsAnImageBack(t *testing.T) {
	for name, tag := range map[string]func(t *testing.T, s *testStore, d digest.Digest){
		"add-tag": func(t *testing.T, s *testStore, d digest.Digest) {
			if _, err := s.AddTags(t.Context(), []admin.Tagging{{Image: d.Encoded(), Tags: []string{"storm/a:2"}}}, nil); err != nil {
				t.Fatal(err)
			}
		},
		"an editor": func(t *testing.T, s *testStore, d digest.Digest) {
			s.put(t, manifest.TagFile, []byte("storm/a:2:"+d.Encoded()+"\n"))
			if step := s.cleanup(t, d); step.Action != admin.Revive {
				t.Errorf("%s", step.Action)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d := s.addImage(t, "", "base")
			s.put(t, publish.MarkerFile(d), nil)
			if err := os.Chmod(s.path(manifest.ManifestFile(d)), 0o400); err != nil {
				t.Fatal(err)
			}
			tag(t, s, d)
			if mode := s.mode(t, manifest.ManifestFile(d)); mode != 0o444 {
				t.Errorf("the manifest has mode %o", mode)
			}
			if slices.Contains(s.files(t), publish.MarkerFile(d)) {
				t.Error("its marker is still there")
			}
			s.wantWhole(t, "storm/a:2")
		})
	}
}

func TestCleanupDeletesNothingWhileAManifestIsUnknown(t *testing.T) {
	s := newStore(t)
	dead := s.addImage(t, "", "old")
	fresh := s.addImage(t, "", "new")
	s.put(t, publish.MarkerFile(dead), nil)
	s.age(t, publish.MarkerFile(dead), 2*week)
	if err := os.Chmod(s.path(manifest.ManifestFile(dead)), 0o400); err != nil {
		t.Fatal(err)
	}
	unknown := digest.FromString("unknown")
	s.put(t, manifest.ManifestFile(unknown), []byte("{}"))
	_, err := s.Cleanup(t.Context(), admin.CleanupOptions{Transition: week, Unreferenced: true})
	wantError(t, err, admin.ErrUnknownReferences, "remove-image "+unknown.Encoded())
	left := s.files(t)
	if !slices.Contains(left, manifest.LayerFile(layer("old"))) || !slices.Contains(left, publish.MarkerFile(fresh)) {
		t.Errorf("the store has %q; want no layer less and a marker more", left)
	}
}

func TestCleanupOfWhatNoManifestNames(t *testing.T) {
	s := newStore(t)
	s.addImage(t, "storm/a", "base")
	old, young := manifest.LayerFile(layer("old")), manifest.LayerFile(layer("young"))
	config := manifest.ConfigFile(digest.FromString("config"))
	kept := []string{young, "layers/notes.txt", "config/README"}
	for _, name := range append([]string{old, manifest.IdentityFile(layer("old")), config}, kept...) {
		s.put(t, name, []byte("x"))
		if name != young {
			s.age(t, name, 2*week)
		}
	}
	s.age(t, manifest.LayerFile(layer("base")), 2*week)
	report, err := s.Cleanup(t.Context(), admin.CleanupOptions{Transition: week, Unreferenced: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{old, manifest.IdentityFile(layer("old")), config}; !slices.Equal(report.Unreferenced.Files, want) {
		t.Errorf("deleted %q, want %q", report.Unreferenced.Files, want)
	}
	s.wantWhole(t, "storm/a")
	for _, name := range kept {
		if !slices.Contains(s.files(t), name) {
			t.Errorf("%s is gone", name)
		}
	}
}
