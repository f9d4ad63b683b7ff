package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/message"
)

// maxWarnings and maxQuote bound what a hostile tag file can make us say.
const (
	maxWarnings = 100
	maxQuote    = 100
)

// ErrBadTag is a tag that cannot stand in a tag file.
var ErrBadTag = errors.New("tag cannot stand in a tag file")

// Tags is a parsed tag file: which manifest each tag names. The grammar is
// that of Storm's docker-to-squash.py, a line per manifest:
//
//	tag[,tag...]:<manifest hash>[#comment[, comment...]]
//
// The zero value is an empty tag file.
type Tags struct {
	manifests map[string]digest.Digest
	comments  map[digest.Digest]map[string]bool
}

// ParseTags reads a tag file. Lines that break the grammar are left out and
// described in warnings (one per line, with its number), so that one bad line
// does not take the other images away. A tag that stands twice keeps its last
// meaning, as in Storm. Warnings beyond the hundredth are only counted.
func ParseTags(content []byte) (tags *Tags, warnings []string) {
	tags = new(Tags)
	var n, more int
	for line := range strings.Lines(string(content)) {
		n++
		switch w := tags.parseLine(line); {
		case w == "":
		case len(warnings) < maxWarnings:
			warnings = append(warnings, fmt.Sprintf("line %d: %s", n, w))
		default:
			more++
		}
	}
	if more > 0 {
		warnings = append(warnings, fmt.Sprintf("and %d more lines", more))
	}
	return tags, warnings
}

func (t *Tags) parseLine(line string) (warning string) {
	mapping, comment, _ := strings.Cut(line, "#")
	mapping = strings.TrimSpace(mapping)
	if mapping == "" {
		return ""
	}
	colon := strings.LastIndexByte(mapping, ':')
	if colon < 0 {
		return "no ':' between tag and manifest hash"
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, mapping[colon+1:])
	if ValidateDigest(d) != nil {
		return quote(mapping[colon+1:]) + " is not a sha256 hash of 64 lower-case hex digits"
	}
	for tag := range strings.SplitSeq(mapping[:colon], ",") {
		tag = strings.TrimSpace(tag)
		if old, ok := t.manifests[tag]; ok && old != d {
			warning = "tag " + quote(tag) + " stood before with another hash; the last one counts"
		}
		if err := t.Set(tag, d); err != nil {
			warning = err.Error()
		}
	}
	for c := range strings.SplitSeq(comment, ",") {
		t.AddComment(d, c)
	}
	return warning
}

func quote(s string) string {
	return fmt.Sprintf("%q", message.Truncate(s, maxQuote))
}

// Lookup returns the manifest that tag names.
func (t *Tags) Lookup(tag string) (digest.Digest, bool) {
	d, ok := t.manifests[tag]
	return d, ok
}

// All returns every tag, sorted.
func (t *Tags) All() []string { return slices.Sorted(maps.Keys(t.manifests)) }

// Set makes tag name the manifest d. A tag that the grammar of the file cannot
// hold gives ErrBadTag and changes nothing.
func (t *Tags) Set(tag string, d digest.Digest) error {
	if tag == "" {
		return fmt.Errorf("%w: it is empty", ErrBadTag)
	}
	if strings.ContainsAny(tag, ",#\n\r") || strings.TrimSpace(tag) != tag {
		return fmt.Errorf("%w: %s has a comma, a '#', a line break or a blank at an end", ErrBadTag, quote(tag))
	}
	if t.manifests == nil {
		t.manifests = map[string]digest.Digest{}
	}
	t.manifests[tag] = d
	return nil
}

// Of returns the tags of the manifest d, sorted.
func (t *Tags) Of(d digest.Digest) []string {
	var tags []string
	for tag, named := range t.manifests {
		if named == d {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

// Comments returns the comments on the manifest d, sorted.
func (t *Tags) Comments(d digest.Digest) []string { return slices.Sorted(maps.Keys(t.comments[d])) }

// Remove drops tag.
func (t *Tags) Remove(tag string) { delete(t.manifests, tag) }

// AddComment notes a source of the manifest d, once. An empty comment, or one
// that would break the line, is left out.
func (t *Tags) AddComment(d digest.Digest, comment string) {
	comment = strings.TrimSpace(comment)
	if comment == "" || strings.ContainsAny(comment, ",\n\r") {
		return
	}
	if t.comments == nil {
		t.comments = map[digest.Digest]map[string]bool{}
	}
	if t.comments[d] == nil {
		t.comments[d] = map[string]bool{}
	}
	t.comments[d][comment] = true
}

// Format writes the tag file as the original does: per manifest its sorted
// tags, its sorted comments; lines sorted. Manifests without tags are dropped.
func (t *Tags) Format() []byte {
	byManifest := map[digest.Digest][]string{}
	for _, tag := range t.All() {
		d := t.manifests[tag]
		byManifest[d] = append(byManifest[d], tag)
	}
	lines := make([]string, 0, len(byManifest))
	for d, tags := range byManifest {
		line := strings.Join(tags, ",") + ":" + d.Encoded()
		if comments := t.comments[d]; len(comments) > 0 {
			line += "#" + strings.Join(slices.Sorted(maps.Keys(comments)), ", ")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
