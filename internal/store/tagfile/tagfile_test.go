package tagfile_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

func newFile(t *testing.T, name string) (tagfile.File, string) {
	t.Helper()
	dir := t.TempDir()
	f := tagfile.File{Store: localdir.New(dir), Name: name}
	if err := f.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, filepath.Join(dir, name)
}

func set(tag string) func(*manifest.Tags) error {
	return func(tags *manifest.Tags) error { return tags.Set(tag, digest.FromString(tag)) }
}

// TestNoUpdateIsLost lets many writers add and remove tags at once.
func TestNoUpdateIsLost(t *testing.T) {
	f, name := newFile(t, manifest.TagFile)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				tag := fmt.Sprintf("writer%d:%d", i, j)
				if _, err := f.Update(t.Context(), set(tag)); err != nil {
					t.Error(err)
				}
				if j == 0 {
					continue
				}
				before := fmt.Sprintf("writer%d:%d", i, j-1)
				if _, err := f.Update(t.Context(), func(tags *manifest.Tags) error { tags.Remove(before); return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tags, warnings := manifest.ParseTags(content)
	if got := strings.Join(tags.All(), " "); got != "writer0:4 writer1:4 writer2:4 writer3:4 writer4:4 writer5:4 writer6:4 writer7:4" || len(warnings) > 0 {
		t.Errorf("tags %s, warnings %q", got, warnings)
	}
}

func TestUpdate(t *testing.T) {
	a := strings.Repeat("a", 64)
	errRefused := errors.New("refused")
	for name, tt := range map[string]struct {
		old, want string
		change    func(*manifest.Tags) error
		warns     int
		err       error
	}{
		"a new tag":                     {"", "t:" + digest.FromString("t").Encoded() + "\n", set("t"), 0, nil},
		"bad lines are dropped":         {"x\nu:" + a + "#c\nv:1\n", "t:" + digest.FromString("t").Encoded() + "\nu:" + a + "#c\n", set("t"), 2, nil},
		"what comes to nothing":         {"x\nu:" + a + "\n", "x\nu:" + a + "\n", func(*manifest.Tags) error { return nil }, 0, nil},
		"a change that refuses":         {"x\nu:" + a + "\n", "x\nu:" + a + "\n", func(*manifest.Tags) error { return errRefused }, 0, errRefused},
		"a tag that the grammar breaks": {"u:" + a + "\n", "u:" + a + "\n", set("a,b"), 0, manifest.ErrBadTag},
	} {
		t.Run(name, func(t *testing.T) {
			f, file := newFile(t, "tags")
			if err := os.WriteFile(file, []byte(tt.old), 0o644); err != nil {
				t.Fatal(err)
			}
			warnings, err := f.Update(t.Context(), tt.change)
			if !errors.Is(err, tt.err) || len(warnings) != tt.warns {
				t.Errorf("%q, %v", warnings, err)
			}
			for _, w := range warnings {
				if !strings.HasPrefix(w, "line ") {
					t.Errorf("warning %q does not say which line", w)
				}
			}
			content, err := os.ReadFile(file)
			if err != nil || string(content) != tt.want {
				t.Errorf("%q, %v; want %q", content, err, tt.want)
			}
		})
	}
}

func TestAStoreThatIsNotSetUp(t *testing.T) {
	f, file := newFile(t, manifest.TagFile)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.Read(t.Context())
	for _, err := range []error{err, f.Check(t.Context())} {
		if !errors.Is(err, tagfile.ErrNoStore) || !strings.Contains(err.Error(), "--bootstrap") {
			t.Error(err)
		}
	}
}
