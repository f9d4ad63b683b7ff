package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// prefetchFindings is what the status of a prefetch is made of: the selected nodes, or
// why there cannot be any.
type prefetchFindings struct {
	selectorErr error
	nodes       []nodeProgress
}

// nodeProgress is the progress of a node with an image.
type nodeProgress struct {
	node  string
	state api.PrefetchState
	// message says why the state is Failed.
	message string
}

// progressOf returns the progress of a node with the current manifest of an image. n is
// nil if the node has no StormNode yet.
func progressOf(node string, n *api.StormNode, i *api.StormImage) nodeProgress {
	p := nodeProgress{node: node, state: api.PrefetchPending}
	if n == nil {
		return p
	}
	if len(n.Spec.Images) >= api.MaxStormNodeImages && !wants(n, i.Spec.Tag) {
		p.state = api.PrefetchFailed
		p.message = fmt.Sprintf("the node already prefetches %d other images, which is the limit: remove spec.prefetch from some images, or select fewer nodes for them", len(n.Spec.Images))
		return p
	}
	for _, s := range n.Status.Images {
		if s.Tag == i.Spec.Tag && s.ManifestDigest == i.Status.ManifestDigest {
			p.state, p.message = s.State, s.Message
		}
	}
	return p
}

func wants(n *api.StormNode, tag string) bool {
	for _, w := range n.Spec.Images {
		if w.Tag == tag {
			return true
		}
	}
	return false
}

// prefetchStatus returns i's status with the findings about its prefetch.
func prefetchStatus(i *api.StormImage, f prefetchFindings, now time.Time) api.StormImageStatus {
	status := *i.Status.DeepCopy()
	if i.Spec.Prefetch == nil {
		status.Prefetch = nil
		meta.RemoveStatusCondition(&status.Conditions, api.ImagePrefetched)
		return status
	}
	count := api.StormImagePrefetchStatus{Nodes: int32(len(f.nodes))} //nolint:gosec // no cluster has 2^31 nodes
	var failure *nodeProgress
	for n := range f.nodes {
		switch p := &f.nodes[n]; p.state {
		case api.PrefetchReady:
			count.NodesReady++
		case api.PrefetchFailed:
			count.NodesFailed++
			// Always the same of several, or the message would never rest.
			if failure == nil || p.node < failure.node {
				failure = p
			}
		case api.PrefetchPending, api.PrefetchFetching:
		}
	}
	status.Prefetch = &count
	condition.Set(&status.Conditions, prefetchedCondition(i, f.selectorErr, count, failure), i.Generation, now)
	return status
}

// prefetchedCondition returns the condition of a count. failure is one of the nodes that
// failed.
func prefetchedCondition(i *api.StormImage, selectorErr error, count api.StormImagePrefetchStatus, failure *nodeProgress) metav1.Condition {
	c := metav1.Condition{Type: api.ImagePrefetched, Status: metav1.ConditionFalse}
	have := fmt.Sprintf("%d of %d nodes have manifest %s", count.NodesReady, count.Nodes, i.Status.ManifestDigest)
	switch {
	case selectorErr != nil:
		c.Reason, c.Message = api.ReasonSelectorInvalid, selectorErr.Error()+"; no node prefetches the image until this is corrected"
	case count.Nodes == 0:
		c.Reason, c.Message = api.ReasonNoNodeSelected, "no node matches the labels of spec.prefetch.nodeSelector; kubectl get nodes --show-labels lists the labels"
	case !usable(*i):
		c.Reason, c.Message = api.ReasonImagePending, fmt.Sprintf("the image is prefetched on %d nodes when it is ready", count.Nodes)
	case count.NodesReady == count.Nodes:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, api.ReasonPrefetched, have
	case failure != nil:
		c.Reason = api.ReasonPrefetchFailed
		c.Message = fmt.Sprintf("%s; %d failed, among them %s: %s", have, count.NodesFailed, failure.node, failure.message)
	default:
		c.Reason, c.Message = api.ReasonPrefetching, have
	}
	return c
}
