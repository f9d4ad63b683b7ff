package controllers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

func foundImage() *manifest.Image {
	return &manifest.Image{
		Tag: "a:1", ManifestDigest: "sha256:1", Config: manifest.Blob{Digest: "sha256:c", Size: 7},
		Layers: []manifest.Layer{{Digest: "sha256:l", Size: 100, File: "layers/l.sqsh", Squashfs: manifest.Blob{Digest: "sha256:s", Size: 50}}},
	}
}

func TestStoreTrouble(t *testing.T) {
	const no, unknown = metav1.ConditionFalse, metav1.ConditionUnknown
	tests := []struct {
		err    error
		status metav1.ConditionStatus
		reason string
	}{
		{tags.ErrTagNotFound, no, api.ReasonTagNotFound},
		{tags.ErrUnreadable, unknown, api.ReasonStoreUnreadable},
		{store.ErrUnavailable, unknown, api.ReasonStoreUnavailable},
		{store.ErrManifestMissing, no, api.ReasonManifestMissing},
		{store.ErrConfigMissing, no, api.ReasonConfigMissing},
		{store.ErrLayerMissing, no, api.ReasonLayerMissing},
		{store.ErrIdentityMismatch, no, api.ReasonLayerInvalid},
		{store.ErrUnverifiable, no, api.ReasonLayerInvalid},
		{manifest.ErrDigestMismatch, no, api.ReasonManifestInvalid},
		{manifest.ErrMalformed, no, api.ReasonManifestInvalid},
		{manifest.ErrUnsupported, no, api.ReasonManifestInvalid},
		{store.ErrTooLarge, no, api.ReasonManifestInvalid},
		{errors.Join(tags.ErrUnreadable, store.ErrTooLarge), unknown, api.ReasonStoreUnreadable},
		{fs.ErrPermission, unknown, api.ReasonStoreUnreadable},
		{context.DeadlineExceeded, unknown, api.ReasonStoreUnavailable},
		{errors.New("input/output error"), unknown, api.ReasonStoreUnreadable},
		// What is away cannot be missing.
		{errors.Join(store.ErrManifestMissing, store.ErrUnavailable), unknown, api.ReasonStoreUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			got := storeTrouble(fmt.Errorf("look up: %w", tt.err))
			if got.status != tt.status || got.reason != tt.reason {
				t.Errorf("%s %s, want %s %s", got.status, got.reason, tt.status, tt.reason)
			}
		})
	}
}

func TestImageStatusOverTime(t *testing.T) {
	i := newImage("a:1")
	i.Generation = 1
	found := imageFindings{image: foundImage()}
	i.Status = imageStatus(i, found, noon)
	if !meta.IsStatusConditionTrue(i.Status.Conditions, api.ImageReady) || i.Status.ManifestDigest != "sha256:1" {
		t.Fatalf("%+v", i.Status)
	}
	if again := imageStatus(i, found, noon.Add(time.Hour)); !equality.Semantic.DeepEqual(again, i.Status) {
		t.Errorf("changes without news: %+v then %+v", i.Status, again)
	}

	away := imageFindings{image: foundImage(), err: tags.ErrUnreadable}
	i.Status = imageStatus(i, away, noon.Add(time.Minute))
	ready := meta.FindStatusCondition(i.Status.Conditions, api.ImageReady)
	if ready.Status != metav1.ConditionUnknown || i.Status.ManifestDigest != "sha256:1" || !i.Status.ResolvedAt.Time.Equal(noon) {
		t.Errorf("store away: %+v", i.Status)
	}
	if !ready.LastTransitionTime.Time.Equal(noon.Add(time.Minute)) {
		t.Errorf("transition at %s", ready.LastTransitionTime)
	}
	i.Status = imageStatus(i, imageFindings{err: store.ErrUnavailable}, noon.Add(time.Minute))
	if i.Status.ManifestDigest != "sha256:1" || len(i.Status.Layers) != 1 {
		t.Errorf("a restarted manager forgets the last answer: %+v", i.Status)
	}

	i.Status = imageStatus(i, imageFindings{refusal: fmt.Errorf("%w: a:1", allowlist.ErrNotAllowed)}, noon.Add(time.Hour))
	if meta.FindStatusCondition(i.Status.Conditions, api.ImageReady).Reason != api.ReasonNotAllowed {
		t.Errorf("not allowed: %+v", i.Status.Conditions)
	}
	if i.Status.ManifestDigest != "" || i.Status.Config != nil || i.Status.Layers != nil || i.Status.ResolvedAt != nil {
		t.Errorf("an image that is not allowed keeps its answer: %+v", i.Status)
	}
}

func TestImageSaysWhatCannotBeVerified(t *testing.T) {
	image := foundImage()
	if got := resolvedMessage(image); strings.Contains(got, "verify") {
		t.Errorf("%q", got)
	}
	image.Layers[0].Squashfs.Digest = ""
	if got := resolvedMessage(image); !strings.Contains(got, "nodes cannot verify 1 of the layers") {
		t.Errorf("%q", got)
	}
}

func TestRefreshInNeverLate(t *testing.T) {
	for range 1000 {
		if d := refreshIn(time.Minute); d > time.Minute || d < 48*time.Second {
			t.Fatalf("refresh in %s", d)
		}
	}
}
