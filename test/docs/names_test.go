// Package docs checks what the documents say against the sources.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	// named is a test as documents name it: `directory.TestName`.
	named = regexp.MustCompile("`(?:([a-z0-9-]+)\\.)?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)`")
	// function is the head of a test.
	function = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)\(`)
)

// tests returns every test of the module by the name that documents use.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == ".git" || d.Name() == ".cache"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(content, -1) {
			found[filepath.Base(filepath.Dir(path))+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNamedTestsExist(t *testing.T) {
	known := tests(t)
	count := 0
	for _, file := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, file), -1) {
			if count++; !known[m[1]+"."+m[2]] {
				t.Errorf("%s names %s, which is no test of this tree", file, m[0])
			}
		}
	}
	if count == 0 {
		t.Error("no document names a test: is the expression right?")
	}
}
