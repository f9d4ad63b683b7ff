package admin_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

var copyLimits = admin.CopyOptions{Limits: publish.Limits{Layers: 3, Compressed: 1 << 20}}

func (s *testStore) copyFrom(ctx context.Context, from *testStore, opts admin.CopyOptions, tag string, tags ...string) (*publish.Report, error) {
	return s.Copy(ctx, from.Curator, []admin.CopyRequest{{Tag: tag, Tags: tags}}, opts)
}

func TestCopy(t *testing.T) {
	from, to := newStore(t), newStore(t)
	d := from.addImage(t, "storm/a:1,storm/a:2", "base", "a")
	to.addImage(t, "storm/b", "base", "b")
	to.DryRun = true
	before := to.files(t)
	if report, err := to.copyFrom(t.Context(), from, copyLimits, "storm/a:1"); err != nil || !report.DryRun || !slices.Equal(before, to.files(t)) {
		t.Fatalf("the dry run: %+v, %v", report, err)
	}
	to.DryRun = false
	report, err := to.copyFrom(t.Context(), from, copyLimits, "storm/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if l := report.Images[0].Layers; l[0].Outcome != publish.Kept || l[1].Outcome != publish.Copied {
		t.Errorf("layers %+v", l)
	}
	if _, err := to.copyFrom(t.Context(), from, copyLimits, "storm/a:2", "storm/x", "storm/y"); err != nil {
		t.Fatal(err)
	}
	if tags := to.read(t, manifest.TagFile); !strings.Contains(tags, "storm/a:1,storm/x,storm/y:"+d.Encoded()+"#from storm/a:1,storm/a:2\n") &&
		!strings.Contains(tags, "storm/a:1,storm/x,storm/y:"+d.Encoded()+"#") {
		t.Errorf("tag file %q", tags)
	}
	for _, tag := range []string{"storm/a:1", "storm/x", "storm/b"} {
		to.wantWhole(t, tag)
	}
	if v, err := to.Verify(t.Context()); err != nil || v.Faults > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestCopyOfALayerWithoutIdentity(t *testing.T) {
	from, to := newStore(t), newStore(t)
	from.addImage(t, "storm/a", "base")
	from.remove(t, manifest.IdentityFile(layer("base")))
	report, err := to.copyFrom(t.Context(), from, copyLimits, "storm/a")
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Images[0].Layers[0]; got.Outcome != publish.Unverified || got.Squashfs.Digest != digest.FromBytes(layerFile(t, "base")) {
		t.Errorf("%+v", got)
	}
	to.wantWhole(t, "storm/a")
}

func TestCopyRepairs(t *testing.T) {
	for name, tt := range map[string]struct {
		harm  func(t *testing.T, to *testStore)
		force bool
	}{
		"a layer cut short":       {func(t *testing.T, to *testStore) { to.put(t, manifest.LayerFile(layer("base")), []byte("hsqs")) }, false},
		"an identity of nonsense": {func(t *testing.T, to *testStore) { to.put(t, manifest.IdentityFile(layer("base")), []byte("{")) }, false},
		"another bit, by force":   {func(t *testing.T, to *testStore) { to.put(t, manifest.LayerFile(layer("base")), layerFile(t, "bath")) }, true},
		"a manifest of nonsense": {func(t *testing.T, to *testStore) {
			for _, f := range to.files(t) {
				if strings.HasPrefix(f, "manifests/") {
					to.put(t, f, []byte("{}"))
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := newStore(t), newStore(t)
			from.addImage(t, "storm/a", "base")
			to.addImage(t, "storm/a", "base")
			tt.harm(t, to)
			opts := copyLimits
			opts.Force = tt.force
			if _, err := to.copyFrom(t.Context(), from, opts, "storm/a"); err != nil {
				t.Fatal(err)
			}
			if v, err := to.Verify(t.Context()); err != nil || v.Faults > 0 {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

func TestCopyRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(t *testing.T, from *testStore, d digest.Digest)
		tags []string
		opts admin.CopyOptions
		want error
	}{
		"a layer with another bit": {func(t *testing.T, from *testStore, _ digest.Digest) {
			from.put(t, manifest.LayerFile(layer("base")), layerFile(t, "bath"))
		}, nil, copyLimits, manifest.ErrDigestMismatch},
		"a layer cut short": {func(t *testing.T, from *testStore, _ digest.Digest) {
			from.put(t, manifest.LayerFile(layer("base")), []byte("hsqs"))
		}, nil, copyLimits, store.ErrIdentityMismatch},
		"a layer missing": {func(t *testing.T, from *testStore, _ digest.Digest) {
			from.remove(t, manifest.LayerFile(layer("base")))
		}, nil, copyLimits, store.ErrLayerMissing},
		"a manifest of 10 MiB": {func(t *testing.T, from *testStore, d digest.Digest) {
			from.put(t, manifest.ManifestFile(d), make([]byte, 10<<20))
		}, nil, copyLimits, store.ErrTooLarge},
		"a lying manifest": {func(t *testing.T, from *testStore, d digest.Digest) {
			from.put(t, manifest.ManifestFile(d), []byte("{}"))
		}, nil, copyLimits, manifest.ErrDigestMismatch},
		"no such tag":     {func(t *testing.T, from *testStore, _ digest.Digest) { from.put(t, manifest.TagFile, nil) }, nil, copyLimits, admin.ErrUnknownImage},
		"a bad tag":       {nil, []string{"A b"}, copyLimits, admin.ErrBadRequest},
		"too many layers": {nil, nil, admin.CopyOptions{Limits: publish.Limits{Layers: 1, Compressed: 1 << 20}}, publish.ErrLimit},
		"too many bytes":  {nil, nil, admin.CopyOptions{Limits: publish.Limits{Layers: 9, Compressed: 1}}, publish.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := newStore(t), newStore(t)
			d := from.addImage(t, "storm/a", "base", "a")
			if tt.harm != nil {
				tt.harm(t, from, d)
			}
			_, err := to.copyFrom(t.Context(), from, tt.opts, "storm/a", tt.tags...)
			wantError(t, err, tt.want, "storm/a")
			if tags := to.read(t, manifest.TagFile); tags != "" {
				t.Errorf("tag file %q", tags)
			}
			if slices.Contains(to.files(t), manifest.LayerFile(layer("base"))) {
				t.Error("a bad layer was published")
			}
		})
	}
}

// removing removes an image once, when the copy takes the lock: after it has
// found that the store has a layer.
type removing struct {
	store.Writer
	remove func()
}

func (r *removing) Replace(ctx context.Context, name string, old, content []byte, o store.CreateOptions) error {
	if r.remove != nil && name == lease.File {
		remove := r.remove
		r.remove = nil
		remove()
	}
	return r.Writer.Replace(ctx, name, old, content, o)
}

// TestALayerIsDeletedWhileAnImageIsPublished deletes a layer that the copy
// has kept, and the tag must still lead to a whole image.
func TestALayerIsDeletedWhileAnImageIsPublished(t *testing.T) {
	from, to := newStore(t), newStore(t)
	from.addImage(t, "storm/a", "base", "a")
	to.addImage(t, "storm/old", "base", "a")
	if bytes.Contains([]byte(to.read(t, manifest.TagFile)), []byte("storm/a")) {
		t.Fatal("storm/a is there")
	}
	remover := *to.Curator
	to.Store = &removing{Writer: to.Store, remove: func() {
		if _, err := remover.RemoveImages(t.Context(), []string{"storm/old"}); err != nil {
			t.Error(err)
		}
	}}
	report, err := to.copyFrom(t.Context(), from, copyLimits, "storm/a")
	if err != nil {
		t.Fatal(err)
	}
	if l := report.Images[0].Layers[0]; l.Outcome != publish.Copied {
		t.Errorf("the layer was %s", l.Outcome)
	}
	to.wantWhole(t, "storm/a")
}
