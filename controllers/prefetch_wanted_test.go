package controllers

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// digestOf is a manifest's digest that tells its salt.
func digestOf(salt string) string {
	return "sha256:" + (strings.Repeat("0", 64) + fmt.Sprintf("%x", salt))[len(fmt.Sprintf("%x", salt)):]
}

// aPrefetch is an image of prefetch that workers can use.
func aPrefetch(name, tag string, change ...func(*api.StormImage)) api.StormImage {
	i := newImage(tag)
	i.Name = name
	i.Spec.Prefetch = &api.StormImagePrefetch{}
	i.Status.ManifestDigest = digestOf(tag)
	i.Status.ResolvedAt = &metav1.Time{Time: noon}
	i.Status.Conditions = []metav1.Condition{
		{Type: api.ImageAllowed, Status: metav1.ConditionTrue}, {Type: api.ImageResolved, Status: metav1.ConditionTrue},
	}
	for _, c := range change {
		c(i)
	}
	return *i
}

func selecting(s metav1.LabelSelector) func(*api.StormImage) {
	return func(i *api.StormImage) { i.Spec.Prefetch.NodeSelector = &s }
}

func TestWantedImages(t *testing.T) {
	zoneA := selecting(metav1.LabelSelector{MatchLabels: map[string]string{"zone": "a"}})
	tests := []struct {
		name   string
		image  api.StormImage
		wanted bool
	}{
		{"every node", aPrefetch("i", "a:1"), true},
		{"an empty selector is every node", aPrefetch("i", "a:1", selecting(metav1.LabelSelector{})), true},
		{"labels that it has", aPrefetch("i", "a:1", zoneA), true},
		{"labels that it has not", aPrefetch("i", "a:1", selecting(metav1.LabelSelector{MatchLabels: map[string]string{"zone": "b"}})), false},
		{"an expression", aPrefetch("i", "a:1", selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "zone", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}},
		}})), true},
		{"a selector that means nothing", aPrefetch("i", "a:1", selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "zone", Operator: "Near"},
		}})), false},
		{"no prefetch", aPrefetch("i", "a:1", func(i *api.StormImage) { i.Spec.Prefetch = nil }), false},
		{"not allowed", aPrefetch("i", "a:1", func(i *api.StormImage) { i.Status.Conditions[0].Status = metav1.ConditionFalse }), false},
		{"not resolved yet", aPrefetch("i", "a:1", func(i *api.StormImage) { i.Status.ManifestDigest = "" }), false},
		{"the store is away", aPrefetch("i", "a:1", func(i *api.StormImage) { i.Status.Conditions[1].Status = metav1.ConditionUnknown }), true},
		{"being deleted", aPrefetch("i", "a:1", func(i *api.StormImage) { i.DeletionTimestamp = &metav1.Time{Time: noon} }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []api.StormNodeImage
			if tt.wanted {
				want = []api.StormNodeImage{{Tag: "a:1", ManifestDigest: digestOf("a:1")}}
			}
			if diff := cmp.Diff(want, wantedImages(labels.Set{"zone": "a"}, []api.StormImage{tt.image})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWantedImagesOfOneTag(t *testing.T) {
	older := aPrefetch("older", "a:1")
	newer := aPrefetch("newer", "a:1", func(i *api.StormImage) {
		i.Status.ManifestDigest, i.Status.ResolvedAt = digestOf("moved"), &metav1.Time{Time: noon.Add(time.Minute)}
	})
	want := []api.StormNodeImage{{Tag: "a:1", ManifestDigest: digestOf("moved")}}
	for _, images := range [][]api.StormImage{{older, newer}, {newer, older}} {
		if diff := cmp.Diff(want, wantedImages(nil, images)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestWantedImagesAtMost(t *testing.T) {
	var images []api.StormImage
	for n := range api.MaxStormNodeImages + 5 {
		images = append(images, aPrefetch(strconv.Itoa(n), fmt.Sprintf("a:%03d", n)))
	}
	wanted := wantedImages(nil, images)
	if len(wanted) != api.MaxStormNodeImages || wanted[0].Tag != "a:000" || wanted[len(wanted)-1].Tag != "a:199" {
		t.Errorf("%d images, from %s to %s", len(wanted), wanted[0].Tag, wanted[len(wanted)-1].Tag)
	}
	n := &api.StormNode{Spec: api.StormNodeSpec{Images: wanted}}
	if p := progressOf("n1", n, &images[api.MaxStormNodeImages]); p.state != api.PrefetchFailed || !strings.Contains(p.message, "200 other images") {
		t.Errorf("what does not fit: %+v", p)
	}
	if p := progressOf("n1", n, &images[0]); p.state != api.PrefetchPending {
		t.Errorf("what fits: %+v", p)
	}
}
