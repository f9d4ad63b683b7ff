package v1alpha1_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func stormNode(name string, images ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": api.GroupVersion.String(),
		"kind":       "StormNode",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"images": images},
	}}
}

func nodeImage(tag, digest string) map[string]any {
	return map[string]any{"tag": tag, "manifestDigest": digest}
}

func TestStormNodeImages(t *testing.T) {
	c := newClient(t)
	digest := "sha256:" + strings.Repeat("a", 64)
	var many []any
	for n := range api.MaxStormNodeImages + 1 {
		many = append(many, nodeImage(strconv.Itoa(n), digest))
	}
	tests := []struct {
		name   string
		images []any
		want   string // empty for good ones
	}{
		{"as many as can be", many[1:], ""},
		{"too many", many, "must have at most 200 items"},
		{"a tag twice", []any{nodeImage("a", digest), nodeImage("a", digest)}, "Duplicate value"},
		{"no tag", []any{map[string]any{"manifestDigest": digest}}, "Required value"},
		{"no digest", []any{map[string]any{"tag": "a"}}, "Required value"},
		{"digest leads out", []any{nodeImage("a", "sha256:../../x")}, "should match"},
		{"digest of another kind", []any{nodeImage("a", "md5:"+strings.Repeat("a", 32))}, "should match"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := stormNode("images-test", tt.images...)
			if tt.want == "" {
				create(t, c, n)
				return
			}
			wantRefused(t, c.Create(context.Background(), n), "spec.images", tt.want)
		})
	}
}

// TestStormNodeHoldsTheLongestStatus: every image may fail with the longest
// message, and the object is still one that etcd takes.
func TestStormNodeHoldsTheLongestStatus(t *testing.T) {
	c := newClient(t)
	n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: "longest"}}
	digest := "sha256:" + strings.Repeat("a", 64)
	for i := range api.MaxStormNodeImages {
		tag := fmt.Sprintf("%0255d", i)
		n.Spec.Images = append(n.Spec.Images, api.StormNodeImage{Tag: tag, ManifestDigest: digest})
		n.Status.Images = append(n.Status.Images, api.StormNodeImageStatus{
			Tag: tag, ManifestDigest: digest, State: api.PrefetchFailed, Reason: api.ReasonDiskFull, Message: strings.Repeat("é", 1100),
		})
	}
	status := n.Status
	create(t, c, n)
	n.Status = status
	mustUpdateStatus(t, c, n)
}
