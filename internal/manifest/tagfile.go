package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Tags is a parsed tag file: which manifest each tag names. The grammar is
// that of Storm's docker-to-squash.py, a line per manifest:
//
//	tag[,tag...]:<manifest hash>[#comment[, comment...]]
//
// The zero value is an empty tag file.
type Tags struct {
	manifests map[string]digest.Digest
	comments  map[digest.Digest][]string
}

// ParseTags reads a tag file. Lines that break the grammar are left out and
// described in warnings (one per line, with its number), so that one bad line
// does not take the other images away. A tag that stands twice keeps its last
// meaning, as in Storm.
func ParseTags(content []byte) (tags *Tags, warnings []string) {
	tags = new(Tags)
	for n, line := range strings.Split(string(content), "\n") {
		if w := tags.parseLine(line); w != "" {
			warnings = append(warnings, fmt.Sprintf("line %d: %s", n+1, w))
		}
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
		return fmt.Sprintf("%q is not a sha256 hash of 64 lower-case hex digits", mapping[colon+1:])
	}
	var doubled []string
	for tag := range strings.SplitSeq(mapping[:colon], ",") {
		tag = strings.TrimSpace(tag)
		if tag == "" {
			doubled = append(doubled, "an empty tag was left out")
			continue
		}
		if old, ok := t.manifests[tag]; ok && old != d {
			doubled = append(doubled, fmt.Sprintf("tag %q stood before with another hash; the last one counts", tag))
		}
		t.Set(tag, d)
	}
	for c := range strings.SplitSeq(comment, ",") {
		t.AddComment(d, strings.TrimSpace(c))
	}
	return strings.Join(doubled, "; ")
}

// Lookup returns the manifest that tag names.
func (t *Tags) Lookup(tag string) (digest.Digest, bool) {
	d, ok := t.manifests[tag]
	return d, ok
}

// All returns every tag, sorted.
func (t *Tags) All() []string {
	all := make([]string, 0, len(t.manifests))
	for tag := range t.manifests {
		all = append(all, tag)
	}
	slices.Sort(all)
	return all
}

// Set makes tag name the manifest d.
func (t *Tags) Set(tag string, d digest.Digest) {
	if t.manifests == nil {
		t.manifests = map[string]digest.Digest{}
	}
	t.manifests[tag] = d
}

// Remove drops tag.
func (t *Tags) Remove(tag string) { delete(t.manifests, tag) }

// AddComment notes a source of the manifest d, once. An empty comment, or one
// that would break the line, is left out.
func (t *Tags) AddComment(d digest.Digest, comment string) {
	if comment == "" || strings.ContainsAny(comment, ",\n\r") || slices.Contains(t.comments[d], comment) {
		return
	}
	if t.comments == nil {
		t.comments = map[digest.Digest][]string{}
	}
	t.comments[d] = append(t.comments[d], comment)
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
		if c := slices.Sorted(slices.Values(t.comments[d])); len(c) > 0 {
			line += "#" + strings.Join(c, ", ")
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
