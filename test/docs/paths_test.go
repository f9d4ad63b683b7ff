package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// path is a file or folder of this repository as documents name it. What a
// recipe tells the reader to make has a word in capitals, and is none.
var path = regexp.MustCompile("`((?:api|charts|client|cmd|config|controllers|dist|docs|examples|hack|internal|test)/[a-z0-9_./-]+)`")

func TestNamedPathsExist(t *testing.T) {
	count := 0
	for _, file := range documents(t) {
		for _, m := range path.FindAllStringSubmatch(read(t, file), -1) {
			count++
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", file, m[0], err)
			}
		}
	}
	if count == 0 {
		t.Error("no document names a path: is the expression right?")
	}
}

// packages returns the folders below internal that have sources, by their path
// from there.
func packages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root+"/internal", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		dir, err := filepath.Rel(root+"/internal", filepath.Dir(name))
		found = append(found, filepath.ToSlash(dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Compact(found)
}

// TestDesignHasEveryPackage: its tables name each, in full, from its wing on, or
// by its last name.
func TestDesignHasEveryPackage(t *testing.T) {
	_, rest, ok := strings.Cut(read(t, root+"/docs/design.md"), "\n## Packages\n")
	if !ok {
		t.Fatal("docs/design.md has no section Packages")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	for _, name := range packages(t) {
		wing, below, _ := strings.Cut(name, "/")
		known := slices.ContainsFunc([]string{"internal/" + name, name, below, name[strings.LastIndex(name, "/")+1:]}, func(s string) bool {
			return strings.Contains(section, "`"+s+"`")
		})
		if !known {
			t.Errorf("docs/design.md does not say what internal/%s is: add it to the table of internal/%s in the section Packages", name, wing)
		}
	}
}
