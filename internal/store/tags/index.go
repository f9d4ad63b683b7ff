// Package tags resolves a tag to its image: by the tag files of Storm's
// LocalOrHdfsImageTagToManifestPlugin, which it caches and reads again at intervals, and
// by the manifests of an image store.
//
// While a store is away, it answers from the cache, and says so.
package tags

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// File is one tag file.
type File struct {
	Store store.Reader
	// Name is relative to the root of Store.
	Name string
	// Optional is a file that may be missing; it then has no tags.
	Optional bool
}

// String is the address of the file, for messages.
func (f File) String() string { return strings.TrimSuffix(f.Store.URL(), "/") + "/" + f.Name }

// Answer is the manifest that a tag names.
type Answer struct {
	Digest digest.Digest
	// Stale: the answer is from memory and may be outdated, because a store could
	// not be asked again. Err says why.
	Stale bool
	Err   error
}

// Index looks tags up in tag files. Its methods may be called side by side.
type Index struct {
	files []*cachedFile
}

// NewIndex returns an index of files. For each tag, an earlier file takes precedence.
// What was read of a file is valid for interval; then the file is read again if its
// time or its size has changed. now returns the time. NewIndex reads nothing.
func NewIndex(files []File, interval time.Duration, now func() time.Time) *Index {
	x := &Index{}
	for _, f := range files {
		x.files = append(x.files, &cachedFile{file: f, interval: interval, now: now, flights: newFlights[snapshot]()})
	}
	return x
}

// Lookup returns the manifest that tag names. A tag that stands in no file and
// is 64 lower-case hex digits names the manifest of that hash, as in Storm;
// no other string does. Errors wrap ErrTagNotFound, ErrUnreadable or
// store.ErrUnavailable.
func (x *Index) Lookup(ctx context.Context, tag string) (Answer, error) {
	a, err := decide(tag, x.snapshots(ctx))
	if errors.Is(err, ErrTagNotFound) {
		return a, fmt.Errorf("%w: %q is in none of %s: see \"docker-to-squash --store %s list-tags\", or add it with pull-build-push-update IMAGE,TAG",
			ErrTagNotFound, tag, x.names(), x.last())
	}
	return a, err
}

// Warnings describes what was left out of the tag files when they were last
// read: a line for each malformed line, with the file's address.
func (x *Index) Warnings() []string {
	var all []string
	for _, f := range x.files {
		for _, w := range f.current().warnings {
			all = append(all, f.file.String()+": "+w)
		}
	}
	return all
}

// snapshots asks the files one after the other, only as far as they are needed.
func (x *Index) snapshots(ctx context.Context) iter.Seq[snapshot] {
	return func(yield func(snapshot) bool) {
		for _, f := range x.files {
			if !yield(f.fresh(ctx)) {
				return
			}
		}
	}
}

func (x *Index) names() string {
	all := make([]string, len(x.files))
	for i, f := range x.files {
		all[i] = f.file.String()
	}
	return strings.Join(all, ", ")
}

// last is the address of the last file's store, which the others only override.
func (x *Index) last() string {
	if len(x.files) == 0 {
		return "URL"
	}
	return x.files[len(x.files)-1].file.Store.URL()
}

// decide finds tag in snapshots of tag files, of which an earlier one wins.
func decide(tag string, snapshots iter.Seq[snapshot]) (Answer, error) {
	var doubts error
	for s := range snapshots {
		if s.tags == nil {
			// It could have the tag, and it would win over the files after it.
			return Answer{}, errors.Join(doubts, s.err)
		}
		doubts = errors.Join(doubts, s.err)
		if d, ok := s.tags.Lookup(tag); ok {
			return Answer{Digest: d, Stale: doubts != nil, Err: doubts}, nil
		}
	}
	if doubts != nil {
		// The tag may have been added to a file that cannot be read now.
		return Answer{}, doubts
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, tag)
	if manifest.ValidateDigest(d) == nil {
		return Answer{Digest: d}, nil
	}
	return Answer{}, ErrTagNotFound
}
