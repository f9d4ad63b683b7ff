package tags

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func parsed(content string) *manifest.Tags {
	tags, _ := manifest.ParseTags([]byte(content))
	return tags
}

func TestDecide(t *testing.T) {
	away := fmt.Errorf("%w: connection refused", store.ErrUnavailable)
	unread := fmt.Errorf("%w: permission denied", ErrUnreadable)
	none := snapshot{tags: parsed("")}
	files := snapshot{tags: parsed("a:" + hash("1") + "\nb:" + hash("2"))}
	local := snapshot{tags: parsed("a:" + hash("3"))}
	for _, c := range []struct {
		name      string
		tag       string
		snapshots []snapshot
		want      digest.Digest
		stale     bool
		err       error
	}{
		{"found", "a", []snapshot{none, files}, sha("1"), false, nil},
		{"local wins", "a", []snapshot{local, files}, sha("3"), false, nil},
		{"local lacks the tag", "b", []snapshot{local, files}, sha("2"), false, nil},
		{"unknown", "c", []snapshot{local, files}, "", false, ErrTagNotFound},
		{"no files", "c", nil, "", false, ErrTagNotFound},
		{"a hash names its manifest", hash("a"), []snapshot{none, files}, sha("a"), false, nil},
		{"a hash that is also a tag", hash("a"), []snapshot{{tags: parsed(hash("a") + ":" + hash("b"))}}, sha("b"), false, nil},
		{"a hash in capitals", hash("A"), []snapshot{files}, "", false, ErrTagNotFound},
		{"a hash of other letters", hash("g"), []snapshot{files}, "", false, ErrTagNotFound},
		{"a hash too short", hash("a")[1:], []snapshot{files}, "", false, ErrTagNotFound},
		{"a hash with its algorithm", "sha256:" + hash("a"), []snapshot{files}, "", false, ErrTagNotFound},
		{"a path", "../layers/" + hash("a")[10:], []snapshot{files}, "", false, ErrTagNotFound},
		{"an empty tag", "", []snapshot{files}, "", false, ErrTagNotFound},
		{"store never read", "a", []snapshot{none, {err: away}}, "", false, store.ErrUnavailable},
		{"store never read, hash", hash("a"), []snapshot{none, {err: away}}, "", false, store.ErrUnavailable},
		{"store never read, local has it", "a", []snapshot{local, {err: away}}, sha("3"), false, nil},
		{"store away, tag known", "a", []snapshot{none, {tags: files.tags, err: away}}, sha("1"), true, store.ErrUnavailable},
		{"store away, tag unknown", "c", []snapshot{none, {tags: files.tags, err: away}}, "", false, store.ErrUnavailable},
		{"local never readable", "b", []snapshot{{err: unread}, files}, "", false, ErrUnreadable},
		{"local unreadable now", "a", []snapshot{{tags: local.tags, err: unread}, files}, sha("3"), true, ErrUnreadable},
		{"local unreadable now, store has it", "b", []snapshot{{tags: local.tags, err: unread}, files}, sha("2"), true, ErrUnreadable},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decide(c.tag, slices.Values(c.snapshots))
			if got.Digest != c.want || got.Stale != c.stale {
				t.Errorf("%+v, want %q, stale %v", got, c.want, c.stale)
			}
			if c.stale {
				err = errors.Join(err, got.Err)
			}
			if !errors.Is(err, c.err) || c.err == nil && (err != nil || got.Err != nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
		})
	}
}

func wantTag(t *testing.T, x *Index, tag, digit string) {
	t.Helper()
	a, err := x.Lookup(t.Context(), tag)
	if err != nil || a.Digest != sha(digit) || a.Stale || a.Err != nil {
		t.Errorf("%s: %+v, %v, want %s…", tag, a, err, digit)
	}
}

func TestLookupRefreshes(t *testing.T) {
	s, c := newStore(t), newClock()
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now)
	wantTag(t, x, "a", "1")

	s.tags(t, manifest.TagFile, "a:"+hash("2"))
	c.forward(interval - time.Second)
	wantTag(t, x, "a", "1")
	c.forward(time.Second)
	wantTag(t, x, "a", "2")

	reads := s.count(manifest.TagFile)
	c.forward(interval)
	wantTag(t, x, "a", "2")
	if got := s.count(manifest.TagFile); got != reads {
		t.Errorf("an unchanged file was read again: %d, then %d times", reads, got)
	}

	s.tags(t, manifest.TagFile, "b:"+hash("2"))
	c.forward(interval)
	_, err := x.Lookup(t.Context(), "a")
	if !errors.Is(err, ErrTagNotFound) || !strings.Contains(err.Error(), "list-tags") || !strings.Contains(err.Error(), s.URL()) {
		t.Errorf("removed tag: %v, want %v with its cure", err, ErrTagNotFound)
	}
}

// A clock may tick too slowly to tell two changes apart: same time, same size.
func TestLookupReadsYoungFileAgain(t *testing.T) {
	s, c := newStore(t), newClock()
	path := filepath.Join(s.dir, manifest.TagFile)
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, time.Second, c.now)
	written := c.now().Add(-time.Second)
	for _, digit := range []string{"1", "2", "2"} {
		put(t, path, "a:"+hash(digit))
		must(t, os.Chtimes(path, written, written))
		wantTag(t, x, "a", digit)
		c.forward(time.Second)
	}
	reads := s.count(manifest.TagFile)
	wantTag(t, x, "a", "2")
	if got := s.count(manifest.TagFile); got != reads {
		t.Error("a file that is no longer young was read again")
	}
}

func TestLookupWhileStoreIsAway(t *testing.T) {
	s, c := newStore(t), newClock()
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now)
	wantTag(t, x, "a", "1")
	s.away()
	c.forward(interval)
	a, err := x.Lookup(t.Context(), "a")
	if err != nil || a.Digest != sha("1") || !a.Stale || !errors.Is(a.Err, store.ErrUnavailable) {
		t.Errorf("away: %+v, %v, want a stale answer", a, err)
	}
	if _, err := x.Lookup(t.Context(), "b"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrTagNotFound) {
		t.Errorf("unknown tag while away: %v, want %v", err, store.ErrUnavailable)
	}
	s.back()
	c.forward(retryInterval)
	wantTag(t, x, "a", "1")
}

// The original remembers the time of a file before it reads it, and so does
// not read it again after a failure.
func TestLookupReadsAgainAfterFailure(t *testing.T) {
	s, c := newStore(t), newClock()
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	s.away()
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now)
	if _, err := x.Lookup(t.Context(), "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, store.ErrUnavailable)
	}
	s.back()
	if _, err := x.Lookup(t.Context(), "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v: a failed store was asked again at once", err)
	}
	c.forward(retryInterval)
	wantTag(t, x, "a", "1")
}

func TestLookupEmptyFile(t *testing.T) {
	s := newStore(t)
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, newClock().now)
	if _, err := x.Lookup(t.Context(), "a"); !errors.Is(err, ErrTagNotFound) {
		t.Errorf("%v, want %v", err, ErrTagNotFound)
	}
}

func TestLookupMissingFiles(t *testing.T) {
	s, local := newStore(t), newStore(t)
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	c := newClock()
	x := NewIndex([]File{
		{Store: local, Name: "overrides", Optional: true},
		{Store: s, Name: manifest.TagFile},
	}, interval, c.now)
	wantTag(t, x, "a", "1")
	if w := x.Warnings(); len(w) != 1 || !strings.Contains(w[0], "overrides: the file is not there") {
		t.Errorf("warnings %q, want one of the missing file", w)
	}
	local.tags(t, "overrides", "a:"+hash("2"))
	c.forward(interval)
	wantTag(t, x, "a", "2")
	if w := x.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	// Removed overrides count no longer, with their folder or without.
	if err := os.RemoveAll(local.dir); err != nil {
		t.Fatal(err)
	}
	c.forward(interval)
	wantTag(t, x, "a", "1")

	if err := os.Remove(filepath.Join(s.dir, manifest.TagFile)); err != nil {
		t.Fatal(err)
	}
	c.forward(interval)
	a, err := x.Lookup(t.Context(), "a")
	if err != nil || !a.Stale || !errors.Is(a.Err, ErrUnreadable) || !errors.Is(a.Err, fs.ErrNotExist) {
		t.Errorf("store without tag file: %+v, %v, want a stale answer", a, err)
	}
}

func TestLookupUnreadable(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, s *testStore)
		want error
	}{
		{"missing", func(t *testing.T, s *testStore) { must(t, os.Remove(filepath.Join(s.dir, manifest.TagFile))) }, fs.ErrNotExist},
		{"denied", func(_ *testing.T, s *testStore) { s.fault = fs.ErrPermission }, fs.ErrPermission},
		{"too large", func(t *testing.T, s *testStore) {
			must(t, os.Truncate(filepath.Join(s.dir, manifest.TagFile), manifest.MaxTagFileSize+1))
		}, store.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			c.make(t, s)
			_, err := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, newClock().now).Lookup(t.Context(), "a")
			if !errors.Is(err, ErrUnreadable) || !errors.Is(err, c.want) || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v, want %v and %v", err, ErrUnreadable, c.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWarnings(t *testing.T) {
	s := newStore(t)
	s.tags(t, manifest.TagFile, "good:"+hash("1")+"\nbad line\n")
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, newClock().now)
	wantTag(t, x, "good", "1")
	want := []string{s.URL() + "/image-tag-to-hash: line 2: no ':' between tag and manifest hash"}
	if got := x.Warnings(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLookupSharesOneRead(t *testing.T) {
	s := newStore(t)
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	s.stuck, s.asking = make(chan struct{}), make(chan struct{}, 100)
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, newClock().now)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { wantTag(t, x, "a", "1") })
	}
	<-s.asking // one of them has begun, the others join it or come later
	close(s.stuck)
	wg.Wait()
	if got := s.count(manifest.TagFile); got != 1 || len(s.asking) != 0 {
		t.Errorf("read %d times, asked %d times more, want one", got, len(s.asking))
	}
}

func TestLookupGivesUp(t *testing.T) {
	s, c := newStore(t), newClock()
	s.tags(t, manifest.TagFile, "a:"+hash("1"))
	x := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now)
	wantTag(t, x, "a", "1")
	stuck := make(chan struct{})
	s.set(func(s *testStore) { s.stuck = stuck })
	c.forward(interval)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, err := x.Lookup(ctx, "a")
	if err != nil || !a.Stale || !errors.Is(a.Err, context.Canceled) {
		t.Errorf("ended context: %+v, %v, want a stale answer", a, err)
	}
	hasty := NewIndex([]File{{Store: s, Name: manifest.TagFile}}, interval, c.now)
	hasty.files[0].last = x.files[0].current()
	hasty.files[0].flights.patience = time.Millisecond
	a, err = hasty.Lookup(t.Context(), "a")
	if err != nil || !a.Stale || !errors.Is(a.Err, store.ErrUnavailable) {
		t.Errorf("hung store: %+v, %v, want a stale answer", a, err)
	}
	s.set(func(s *testStore) { s.stuck = nil })
	close(stuck)
	wantTag(t, x, "a", "1")
}
