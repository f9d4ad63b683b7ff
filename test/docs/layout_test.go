package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// width is the most characters that a line of prose may have.
const width = 160

var (
	// target is where a link leads, which cannot be wrapped.
	target = regexp.MustCompile(`\]\([^)]*\)|https?://\S+`)
	// marker begins an item of a list, or leads in a paragraph.
	marker = regexp.MustCompile(`^\s*(?:[-*] |[0-9]+\. )?(?:\*\*[^*]+\*\*)?\s*`)
	// second is the end of a sentence and the beginning of the next.
	second = regexp.MustCompile("[a-z0-9)`*\"][.!?][)\"*]* +[A-Z`\\[\"(*]")
	// link is a link to a file of this repository, or to a heading.
	link = regexp.MustCompile(`\]\(([^):]+)\)`)
)

// documents returns every page that people read on GitHub.
func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"/*.md", "/docs/*.md"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatal("there are no documents: is the path right?")
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// prose yields the lines that are neither code nor rows of tables, by number.
func prose(content string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		fenced := false
		for i, line := range strings.Split(content, "\n") {
			text := strings.TrimSpace(line)
			if strings.HasPrefix(text, "```") {
				fenced = !fenced
				continue
			}
			if !fenced && !strings.HasPrefix(text, "|") && !yield(i+1, line) {
				return
			}
		}
	}
}

// TestProseIsWrapped: a change of a document is a diff that people can read.
func TestProseIsWrapped(t *testing.T) {
	for _, file := range documents(t) {
		for n, line := range prose(read(t, file)) {
			text := target.ReplaceAllString(line, "]")
			if count := utf8.RuneCountInString(text); count > width {
				t.Errorf("%s:%d has %d characters: make it shorter sentences, one a line, of at most %d characters", file, n, count, width)
			}
			if at := second.FindString(marker.ReplaceAllString(text, "")); at != "" {
				t.Errorf("%s:%d has two sentences, at %q: begin a new line for the second", file, n, at)
			}
		}
	}
}

// anchor is the name that GitHub gives a heading.
func anchor(heading string) string {
	text := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		default:
			return -1
		}
	}, text)
	return "#" + kept
}

// TestLinksLeadSomewhere: each link to a file or heading of this repository.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, file := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			path, fragment, _ := strings.Cut(m[1], "#")
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
				continue
			}
			if fragment != "" && !slices.Contains(anchors(read(t, to)), "#"+fragment) {
				t.Errorf("%s links to %s, and no heading of %s has that name", file, m[1], to)
			}
		}
	}
}

// anchors returns the names of a document's headings.
func anchors(content string) []string {
	var names []string
	for _, line := range prose(content) {
		if strings.HasPrefix(line, "#") {
			names = append(names, anchor(line))
		}
	}
	return names
}
