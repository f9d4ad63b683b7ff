package controllers

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func TestProgressOf(t *testing.T) {
	i := aPrefetch("i", "a:1")
	saying := func(tag, digest string, state api.PrefetchState) *api.StormNode {
		return &api.StormNode{Status: api.StormNodeStatus{Images: []api.StormNodeImageStatus{
			{Tag: tag, ManifestDigest: digest, State: state},
		}}}
	}
	tests := []struct {
		name string
		node *api.StormNode
		want api.PrefetchState
	}{
		{"no StormNode yet", nil, api.PrefetchPending},
		{"its agent has not spoken", &api.StormNode{}, api.PrefetchPending},
		{"ready", saying("a:1", digestOf("a:1"), api.PrefetchReady), api.PrefetchReady},
		{"failed", saying("a:1", digestOf("a:1"), api.PrefetchFailed), api.PrefetchFailed},
		{"ready with what the tag named before", saying("a:1", digestOf("older"), api.PrefetchReady), api.PrefetchPending},
		{"ready with another tag of the manifest", saying("b:1", digestOf("a:1"), api.PrefetchReady), api.PrefetchPending},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := progressOf("n1", tt.node, &i); got.state != tt.want || got.node != "n1" {
				t.Errorf("%+v, want %s", got, tt.want)
			}
		})
	}
}

func TestPrefetchStatus(t *testing.T) {
	is := func(node string, state api.PrefetchState, message string) nodeProgress {
		return nodeProgress{node: node, state: state, message: message}
	}
	none := func(*api.StormImage) {}
	tests := []struct {
		name   string
		change func(*api.StormImage)
		found  prefetchFindings
		want   *api.StormImagePrefetchStatus
		status metav1.ConditionStatus
		reason string
		say    string
	}{
		{"no prefetch", func(i *api.StormImage) {
			i.Spec.Prefetch, i.Status.Prefetch = nil, &api.StormImagePrefetchStatus{Nodes: 1}
			meta.SetStatusCondition(&i.Status.Conditions, metav1.Condition{Type: api.ImagePrefetched, Status: metav1.ConditionTrue})
		}, prefetchFindings{}, nil, "", "", ""},
		{
			"bad selector", none,
			prefetchFindings{selectorErr: errors.New(`spec.prefetch.nodeSelector: "Near" is not a valid label selector operator`)},
			&api.StormImagePrefetchStatus{}, metav1.ConditionFalse, api.ReasonSelectorInvalid, "until this is corrected",
		},
		{
			"no node", none,
			prefetchFindings{},
			&api.StormImagePrefetchStatus{}, metav1.ConditionFalse, api.ReasonNoNodeSelected, "kubectl get nodes --show-labels",
		},
		{
			"not resolved yet", func(i *api.StormImage) { i.Status.ManifestDigest = "" },
			prefetchFindings{nodes: []nodeProgress{is("n1", api.PrefetchPending, "")}},
			&api.StormImagePrefetchStatus{Nodes: 1}, metav1.ConditionFalse, api.ReasonImagePending, "on 1 nodes when it is ready",
		},
		{
			"under way", none,
			prefetchFindings{nodes: []nodeProgress{is("n1", api.PrefetchReady, ""), is("n2", api.PrefetchFetching, ""), is("n3", api.PrefetchPending, "")}},
			&api.StormImagePrefetchStatus{Nodes: 3, NodesReady: 1}, metav1.ConditionFalse, api.ReasonPrefetching, "1 of 3 nodes",
		},
		{
			"all", none,
			prefetchFindings{nodes: []nodeProgress{is("n1", api.PrefetchReady, ""), is("n2", api.PrefetchReady, "")}},
			&api.StormImagePrefetchStatus{Nodes: 2, NodesReady: 2}, metav1.ConditionTrue, api.ReasonPrefetched, "2 of 2 nodes have manifest " + digestOf("a:1"),
		},
		{
			"one of the failures is told, always the same", none,
			prefetchFindings{nodes: []nodeProgress{
				is("n3", api.PrefetchFailed, "third"), is("n2", api.PrefetchFailed, "no room"), is("n1", api.PrefetchReady, ""), is("n4", api.PrefetchFetching, ""),
			}},
			&api.StormImagePrefetchStatus{Nodes: 4, NodesReady: 1, NodesFailed: 2}, metav1.ConditionFalse, api.ReasonPrefetchFailed, "2 failed, among them n2: no room",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := aPrefetch("i", "a:1", tt.change)
			got := prefetchStatus(&i, tt.found, noon)
			c := meta.FindStatusCondition(got.Conditions, api.ImagePrefetched)
			if tt.want == nil {
				if got.Prefetch != nil || c != nil {
					t.Errorf("left: %+v, %+v", got.Prefetch, c)
				}
				return
			}
			if got.Prefetch == nil || *got.Prefetch != *tt.want {
				t.Errorf("count %+v, want %+v", got.Prefetch, tt.want)
			}
			if c == nil || c.Status != tt.status || c.Reason != tt.reason || !strings.Contains(c.Message, tt.say) {
				t.Errorf("condition %+v, want %s %s that says %q", c, tt.status, tt.reason, tt.say)
			}
			if got.ManifestDigest != i.Status.ManifestDigest || !meta.IsStatusConditionTrue(got.Conditions, api.ImageAllowed) {
				t.Error("the rest of the status is not kept")
			}
		})
	}
}
