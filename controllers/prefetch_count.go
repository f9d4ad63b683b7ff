package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// prefetchFindings is what an image's prefetch is told by: the nodes that it is
// for, or why there cannot be any.
type prefetchFindings struct {
	selectorErr error
	nodes       []nodeProgress
}

// nodeProgress is how far a node is with an image.
type nodeProgress struct {
	node  string
	state api.PrefetchState
	// message says why the state is Failed.
	message string
}

// progressOf reads from a StormNode how far its node is with an image, in the
// version that the tag names now. n is nil if the node has none yet.
func progressOf(node string, n *api.StormNode, i *api.StormImage) nodeProgress {
	p := nodeProgress{node: node, state: api.PrefetchPending}
	if n == nil {
		return p
	}
	if len(n.Spec.Images) >= api.MaxStormNodeImages && !wants(n, i.Spec.Tag) {
		p.state = api.PrefetchFailed
		p.message = fmt.Sprintf("it is to have %d other images already, and more are not kept ahead of time: take some back, or choose fewer nodes for them", len(n.Spec.Images))
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

// prefetchStatus is i's status with what was found of its prefetch in it.
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

// prefetchedCondition tells the count in a word and a sentence. failure is one
// of the nodes that failed.
func prefetchedCondition(i *api.StormImage, selectorErr error, count api.StormImagePrefetchStatus, failure *nodeProgress) metav1.Condition {
	c := metav1.Condition{Type: api.ImagePrefetched, Status: metav1.ConditionFalse}
	have := fmt.Sprintf("%d of %d nodes have manifest %s", count.NodesReady, count.Nodes, i.Status.ManifestDigest)
	switch {
	case selectorErr != nil:
		c.Reason, c.Message = api.ReasonSelectorInvalid, selectorErr.Error()+"; no node gets the image ahead of time until this is corrected"
	case count.Nodes == 0:
		c.Reason, c.Message = api.ReasonNoNodeSelected, "no node has the labels that spec.prefetch.nodeSelector asks for; kubectl get nodes --show-labels tells which there are"
	case !usable(*i):
		c.Reason, c.Message = api.ReasonImagePending, fmt.Sprintf("the image goes to %d nodes once it is ready", count.Nodes)
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
