package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/node/hostuser"
)

var bob = hostuser.User{Name: "alice", UID: 54999, GID: 54998}

// as returns the node as one on which the user runs the worker, by the same name.
func (n *node) as(u hostuser.User) *node {
	o := n.options
	o.Users = account{u}
	other := *n
	other.Builder = New(o)
	return &other
}

// The artifacts and the shared directory of a worker that is gone stay for a while,
// and not for ever, so that they keep no other user away.
func TestCleanup(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	for _, dir := range []string{n.paths.Artifacts, n.paths.Shared} {
		file := filepath.Join(dir, "data")
		must(t, os.WriteFile(file, nil, 0o600))
		must(t, os.Chown(file, alice.UID, alice.GID))
		// A time that any user may set.
		must(t, os.Chtimes(file, time.Now().AddDate(9, 0, 0), time.Now().AddDate(9, 0, 0)))
	}
	later := time.Now().Add(time.Hour)
	n.cleanup("a worker has them", later)
	before := time.Now()
	must(t, n.Remove(t.Context(), spec))
	n.cleanup("the worker has just ended", before.Add(-time.Second))
	if _, err := n.as(bob).prepare(); !errors.Is(err, ErrForeignOwner) {
		t.Fatalf("bob's worker: %v, want ErrForeignOwner", err)
	}
	n.cleanup("bob's worker waits for them", later)
	must(t, n.as(bob).Remove(t.Context(), spec))
	n.cleanup("nobody has them", later, n.paths.Artifacts, n.paths.Shared)
	for _, dir := range []string{filepath.Dir(n.paths.Artifacts), filepath.Dir(n.paths.Shared)} {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
	if _, err := n.as(bob).prepare(); err != nil {
		t.Error(err)
	}
}

// cleanup expects Cleanup to remove these paths and no others.
func (n *node) cleanup(when string, before time.Time, want ...string) {
	n.t.Helper()
	removed, err := n.Cleanup(n.t.Context(), before)
	slices.Sort(removed)
	slices.Sort(want)
	if err != nil || !slices.Equal(removed, want) {
		n.t.Errorf("%s: removed %q, %v, want %q", when, removed, err, want)
	}
}

// TestRemoveByARecord: an agent that was away while the worker was deleted knows of it
// what its record has, which is neither command nor environment.
func TestRemoveByARecord(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	recorded := spec
	recorded.Command, recorded.Env = nil, nil
	must(t, n.Discard(t.Context(), recorded))
	must(t, n.Remove(t.Context(), recorded))
	if exists(n.paths.Worker) || exists(n.paths.UserFile) {
		t.Error("something of the worker is left")
	}
}

// What Storm's own supervisor has made is not root's alone, and not touched.
func TestCleanupLeavesStormsOwn(t *testing.T) {
	n := newNode(t, nil)
	theirs := filepath.Join(n.conf.Node.ArtifactsDir, "storms-1", "6700")
	must(t, os.MkdirAll(theirs, 0o755))
	must(t, os.Chown(filepath.Dir(theirs), alice.UID, alice.GID))
	n.cleanup("another's topology", time.Now().Add(time.Hour))
	if !exists(theirs) {
		t.Error("it is gone")
	}
}

// An agent that ends while it deletes leaves a directory that the next one deletes.
func TestCleanupIsFinished(t *testing.T) {
	n := newNode(t, nil)
	half := filepath.Join(n.conf.Node.ArtifactsDir, "wc-1", removedPrefix+"6700")
	must(t, os.MkdirAll(filepath.Join(half, "deep"), 0o755))
	n.cleanup("half removed", time.Now().Add(-time.Hour))
	if exists(half) {
		t.Error("it is left")
	}
}
