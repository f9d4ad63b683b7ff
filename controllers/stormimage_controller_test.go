package controllers

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

const minute = time.Minute

func TestImageAllowlist(t *testing.T) {
	tests := []struct {
		name, tag string
		allowed   []string
		status    metav1.ConditionStatus
		reason    string
	}{
		{"in the list", "storm/a:1", []string{"storm/a:1", "storm/b:1"}, metav1.ConditionTrue, api.ReasonAllowed},
		{"not in the list", "storm/a:2", []string{"storm/a:1"}, metav1.ConditionFalse, api.ReasonNotAllowed},
		{"star", "storm/a:2", []string{"*"}, metav1.ConditionTrue, api.ReasonAllowed},
		{"empty list", "storm/a:1", nil, metav1.ConditionFalse, api.ReasonNoImagesAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.allowed...)
			w.store.add(tt.tag, "x")
			w.run(minute)
			i := newImage(tt.tag)
			w.create(i)
			w.hasCondition(i, api.ImageAllowed, tt.status, tt.reason)
			ready := w.hasCondition(i, api.ImageReady, tt.status, map[bool]string{true: api.ReasonResolved, false: tt.reason}[tt.status == metav1.ConditionTrue])
			if tt.status == metav1.ConditionFalse && !strings.Contains(ready.Message, "storm.yaml") {
				t.Errorf("no cure in %q", ready.Message)
			}
			if asked := w.store.asked.Load(); tt.status == metav1.ConditionFalse && asked > 0 {
				t.Errorf("the store was asked %d times for an image that is not allowed", asked)
			}
		})
	}
}

func TestImageResolved(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	m := w.store.add("storm/a:1", "x")
	w.run(minute)
	i := newImage("storm/a:1")
	w.create(i)
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
	if i.Status.ManifestDigest != w.store.digest("storm/a:1") || i.Status.ResolvedAt == nil {
		t.Errorf("manifest %s at %v", i.Status.ManifestDigest, i.Status.ResolvedAt)
	}
	if i.Status.Config == nil || i.Status.Config.Digest != m.Config.Digest.String() || i.Status.Config.Size != m.Config.Size {
		t.Errorf("config %+v", i.Status.Config)
	}
	if len(i.Status.Layers) != 2 {
		t.Fatalf("%d layers", len(i.Status.Layers))
	}
	for n, l := range i.Status.Layers {
		want := m.Layers[n]
		if l.Digest != want.Digest.String() || l.Size != want.Size || l.File != manifest.LayerFile(want.Digest) ||
			l.SquashfsSize != int64(len("x layer 0")) || !strings.HasPrefix(l.SquashfsDigest, "sha256:") {
			t.Errorf("layer %d: %+v", n, l)
		}
	}
}

// TestImageTrouble damages a good store in one way, and then repairs it.
func TestImageTrouble(t *testing.T) {
	const tag = "storm/a:1"
	tests := []struct {
		name   string
		damage func(s *testStore, m *manifest.Manifest)
		status metav1.ConditionStatus
		reason string
		say    string
	}{
		{"tag unknown", func(s *testStore, _ *manifest.Manifest) {
			s.tags.Remove(tag)
			s.write(manifest.TagFile, nil)
		}, metav1.ConditionFalse, api.ReasonTagNotFound, tag},
		{"manifest altered", func(s *testStore, _ *manifest.Manifest) {
			s.write("manifests/"+s.hex(tag), []byte(`{"schemaVersion":2}`))
		}, metav1.ConditionFalse, api.ReasonManifestInvalid, "does not match its digest"},
		{"manifest of 10 MiB", func(s *testStore, _ *manifest.Manifest) {
			s.write("manifests/"+s.hex(tag), make([]byte, 10<<20))
		}, metav1.ConditionFalse, api.ReasonManifestInvalid, "larger than its limit"},
		{"layer digest that is a path", func(s *testStore, m *manifest.Manifest) {
			m.Layers[1].Digest = "sha256:../../../../etc/shadow"
			s.tag(tag, s.document(manifest.ManifestsDir, m).Digest)
		}, metav1.ConditionFalse, api.ReasonManifestInvalid, "is not a sha256 digest"},
		{"tag line whose hash is a path", func(s *testStore, _ *manifest.Manifest) {
			s.write(manifest.TagFile, []byte(tag+":../../layers/"+s.hex(tag)[13:]+"\n"))
		}, metav1.ConditionFalse, api.ReasonTagNotFound, tag},
		{"manifest missing", func(s *testStore, _ *manifest.Manifest) {
			s.remove("manifests/" + s.hex(tag))
		}, metav1.ConditionFalse, api.ReasonManifestMissing, "push the image again"},
		{"config missing", func(s *testStore, m *manifest.Manifest) {
			s.remove(manifest.ConfigFile(m.Config.Digest))
		}, metav1.ConditionFalse, api.ReasonConfigMissing, "push the image again"},
		{"layer missing", func(s *testStore, m *manifest.Manifest) {
			s.remove(manifest.LayerFile(m.Layers[1].Digest))
		}, metav1.ConditionFalse, api.ReasonLayerMissing, ".sqsh"},
		{"layer of another size", func(s *testStore, m *manifest.Manifest) {
			s.write(manifest.LayerFile(m.Layers[1].Digest), []byte("short"))
		}, metav1.ConditionFalse, api.ReasonLayerInvalid, "its identity says"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tag)
			m := w.store.add(tag, "x")
			tt.damage(w.store, m)
			w.run(minute)
			i := newImage(tag)
			w.create(i)
			c := w.hasCondition(i, api.ImageResolved, tt.status, tt.reason)
			w.hasCondition(i, api.ImageReady, tt.status, tt.reason)
			if !strings.Contains(c.Message, tt.say) {
				t.Errorf("message does not say %q: %s", tt.say, c.Message)
			}
			w.hasEvent(i, tt.reason)
			w.noHotLoop(i)
			w.store.add(tag, "x")
			w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
		})
	}
}

// noHotLoop watches the image over several intervals: it is looked up about
// once in each, and nothing is written.
func (w *world) noHotLoop(i *api.StormImage) {
	w.Helper()
	const intervals = 4
	asked := w.store.asked.Load()
	begin := time.Now()
	w.eventually(func() error {
		if n := w.store.asked.Load() - asked; n < intervals {
			return fmt.Errorf("looked up %d times", n)
		}
		return nil
	})
	least := time.Duration(float64((intervals-1)*interval) * (1 - refreshSpread))
	if took := time.Since(begin); took < least {
		w.Errorf("%d look-ups in %s: a hot loop", intervals, took)
	}
	before := i.ResourceVersion
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i))
	if i.ResourceVersion != before {
		w.Errorf("written without news: %s then %s", before, i.ResourceVersion)
	}
}

func TestImageStoreAway(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.run(minute)
	i := newImage("storm/a:1")
	w.create(i)
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
	digest := i.Status.ManifestDigest

	w.must(os.Rename(w.store.dir, w.store.dir+".away"))
	c := w.hasCondition(i, api.ImageReady, metav1.ConditionUnknown, api.ReasonStoreUnavailable)
	if i.Status.ManifestDigest != digest || len(i.Status.Layers) != 2 {
		t.Errorf("the last answer is not kept: %+v", i.Status)
	}
	for _, want := range []string{"stale", digest, "make the store available again"} {
		if !strings.Contains(c.Message, want) {
			t.Errorf("message does not say %q: %s", want, c.Message)
		}
	}
	w.hasEvent(i, api.ReasonStoreUnavailable)
	w.noHotLoop(i)
	w.must(os.Rename(w.store.dir+".away", w.store.dir))
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
}

func TestImageStoreAwayFromTheStart(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.must(os.RemoveAll(w.store.dir))
	w.run(minute)
	i := newImage("storm/a:1")
	w.create(i)
	c := w.hasCondition(i, api.ImageReady, metav1.ConditionUnknown, api.ReasonStoreUnavailable)
	if strings.Contains(c.Message, "stale") || i.Status.ManifestDigest != "" {
		t.Errorf("speaks of an answer that there never was: %s", c.Message)
	}
}

// TestImageFollowsTheTagFile checks that a new tag and a tag that moves show
// within one refresh interval of the configuration, of which the resolver and
// the controller take a half each.
func TestImageFollowsTheTagFile(t *testing.T) {
	w := newWorld(t, "*")
	w.run(minute)
	i := newImage("storm/new:1")
	w.create(i)
	w.hasCondition(i, api.ImageReady, metav1.ConditionFalse, api.ReasonTagNotFound)

	begin := time.Now()
	w.store.add("storm/new:1", "x")
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
	first := i.Status.ManifestDigest
	w.store.add("storm/new:1", "y")
	w.eventually(func() error {
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i))
		if i.Status.ManifestDigest == first {
			return fmt.Errorf("still manifest %s", first)
		}
		return nil
	})
	if i.Status.ManifestDigest != w.store.digest("storm/new:1") {
		t.Errorf("manifest %s", i.Status.ManifestDigest)
	}
	t.Logf("two changes of the tag file shown after %s, refresh interval %s", time.Since(begin), interval+interval/2)
}

func TestImageFollowsTheConfiguration(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/b:1", "x")
	w.run(minute)
	i := newImage("storm/b:1")
	w.create(i)
	w.hasCondition(i, api.ImageReady, metav1.ConditionFalse, api.ReasonNotAllowed)
	w.change("storm/a:1", "storm/b:1")
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
	w.change("storm/a:1")
	w.hasCondition(i, api.ImageReady, metav1.ConditionFalse, api.ReasonNotAllowed)
	if i.Status.ManifestDigest != "" || i.Status.Layers != nil || i.Status.Config != nil {
		t.Errorf("an image that is not allowed keeps its answer: %+v", i.Status)
	}
}
