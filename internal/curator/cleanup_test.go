package curator_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/curator"
	"github.com/stormcell/stormcell/internal/imagestore/publication"
	"github.com/stormcell/stormcell/internal/manifest"
)

const week = 7 * 24 * time.Hour

// age makes a file older.
func (s *store) age(t *testing.T, name string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(s.path(name), then, then); err != nil {
		t.Fatal(err)
	}
}

// cleanup runs a cleanup, dry first, and returns the step of an image.
func (s *store) cleanup(t *testing.T, d digest.Digest) curator.Step {
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

func (s *store) cleanupOnce(t *testing.T, d digest.Digest) curator.Step {
	t.Helper()
	report, err := s.Cleanup(t.Context(), curator.CleanupOptions{Transition: week})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report.Images, func(s curator.Step) bool { return s.ManifestDigest == d })
	if i < 0 {
		return curator.Step{}
	}
	return report.Images[i]
}

// TestAnImagesWholeLife follows an image from its last tag to its end, a step
// a run, while another that shares a layer lives on.
func TestAnImagesWholeLife(t *testing.T) {
	s := newStore(t)
	d := s.addImage(t, "", "base", "old")
	s.addImage(t, "storm/new", "base", "new")
	marker := publication.MarkerFile(d)
	for _, want := range []struct {
		state  curator.State
		action curator.Action
		wait   time.Duration // before the run
	}{
		{curator.Untagged, curator.Mark, 0},
		{curator.Stale, curator.Keep, week / 2},
		{curator.Stale, curator.Kill, week + time.Minute},
		{curator.Dead, curator.Keep, 0}, // its time began anew
		{curator.Dead, curator.Delete, week + time.Minute},
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
	for name, tag := range map[string]func(t *testing.T, s *store, d digest.Digest){
		"add-tag": func(t *testing.T, s *store, d digest.Digest) {
			if _, err := s.AddTags(t.Context(), []curator.Tagging{{Image: d.Encoded(), Tags: []string{"storm/a:2"}}}, nil); err != nil {
				t.Fatal(err)
			}
		},
		"an editor": func(t *testing.T, s *store, d digest.Digest) {
			s.put(t, manifest.TagFile, []byte("storm/a:2:"+d.Encoded()+"\n"))
			if step := s.cleanup(t, d); step.Action != curator.Revive {
				t.Errorf("%s", step.Action)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d := s.addImage(t, "", "base")
			s.put(t, publication.MarkerFile(d), nil)
			if err := os.Chmod(s.path(manifest.ManifestFile(d)), 0o400); err != nil {
				t.Fatal(err)
			}
			tag(t, s, d)
			if mode := s.mode(t, manifest.ManifestFile(d)); mode != 0o444 {
				t.Errorf("the manifest has mode %o", mode)
			}
			if slices.Contains(s.files(t), publication.MarkerFile(d)) {
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
	s.put(t, publication.MarkerFile(dead), nil)
	s.age(t, publication.MarkerFile(dead), 2*week)
	if err := os.Chmod(s.path(manifest.ManifestFile(dead)), 0o400); err != nil {
		t.Fatal(err)
	}
	unknown := digest.FromString("unknown")
	s.put(t, manifest.ManifestFile(unknown), []byte("{}"))
	_, err := s.Cleanup(t.Context(), curator.CleanupOptions{Transition: week, Unreferenced: true})
	wantError(t, err, curator.ErrUnknownReferences, "remove-image "+unknown.Encoded())
	left := s.files(t)
	if !slices.Contains(left, manifest.LayerFile(layer("old"))) || !slices.Contains(left, publication.MarkerFile(fresh)) {
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
	report, err := s.Cleanup(t.Context(), curator.CleanupOptions{Transition: week, Unreferenced: true})
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
