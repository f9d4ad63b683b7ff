package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// kind is a type that the API server knows as an object of its own.
var kind = regexp.MustCompile(`(?m)^// \+kubebuilder:object:root=true\n(?:// .*\n)*type ([A-Za-z]+) struct`)

// TestProjectNamesEveryKind: kubebuilder reads from PROJECT which kinds there are.
func TestProjectNamesEveryKind(t *testing.T) {
	project, err := os.ReadFile(root + "/PROJECT")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"/api/*/*.go", "/api/*/*/*.go"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	count := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range kind.FindAllSubmatch(content, -1) {
			name := string(m[1])
			if strings.HasSuffix(name, "List") {
				continue
			}
			count++
			want := "  kind: " + name + "\n  path: github.com/stormcell/stormcell/" + filepath.ToSlash(dir) + "\n"
			if !strings.Contains(string(project), want) {
				t.Errorf("PROJECT has no resource with\n%sof %s", want, file)
			}
		}
	}
	if count == 0 {
		t.Error("no kind is found: is the expression right?")
	}
}
