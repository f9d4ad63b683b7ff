package controllers

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func labelled(name, zone string) *corev1.Node {
	n := newNode(name)
	n.Labels = map[string]string{"zone": zone}
	return n
}

// inZone is an image that goes to the nodes of a zone.
func inZone(tag, zone string) *api.StormImage {
	i := newImage(tag)
	i.Spec.Prefetch = &api.StormImagePrefetch{NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": zone}}}
	return i
}

// wants waits until the StormNode of a node wants these manifests, by tag; none
// is no StormNode.
func (w *world) wants(node string, digests map[string]string) *api.StormNode {
	w.Helper()
	n := new(api.StormNode)
	w.eventually(func() error {
		*n = api.StormNode{}
		err := w.c.Get(w.ctx, client.ObjectKey{Name: node}, n)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if exists := err == nil; exists != (len(digests) > 0) || len(n.Spec.Images) != len(digests) {
			return fmt.Errorf("%s has a StormNode: %v; it wants %v, want %v", node, exists, n.Spec.Images, digests)
		}
		for _, i := range n.Spec.Images {
			if digests[i.Tag] != i.ManifestDigest {
				return fmt.Errorf("%s wants %v, want %v", node, n.Spec.Images, digests)
			}
		}
		return nil
	})
	return n
}

// counts waits until the nodes of an image are counted so.
func (w *world) counts(i *api.StormImage, nodes, ready, failed int32, reason string) metav1.Condition {
	w.Helper()
	want := api.StormImagePrefetchStatus{Nodes: nodes, NodesReady: ready, NodesFailed: failed}
	var c metav1.Condition
	w.eventually(func() error {
		if err := w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i); err != nil {
			return err
		}
		found := meta.FindStatusCondition(i.Status.Conditions, api.ImagePrefetched)
		if i.Status.Prefetch == nil || found == nil || *i.Status.Prefetch != want || found.Reason != reason {
			return fmt.Errorf("%s is %+v, %+v, want %+v %s", i.Name, i.Status.Prefetch, found, want, reason)
		}
		c = *found
		return nil
	})
	return c
}

// has says how far a node is with an image, as its agent does.
func (w *world) has(node, tag, digest string, state api.PrefetchState, message string) {
	w.Helper()
	image := map[string]any{"tag": tag, "manifestDigest": digest, "state": string(state)}
	if message != "" {
		image["reason"], image["message"] = api.ReasonDiskFull, message
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"images": []any{image}}}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind("StormNode"))
	u.SetName(node)
	w.must(w.c.Status().Apply(w.ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership))
}

// TestPrefetch follows an image to the nodes of its selector, and nodes that
// come, change and go.
func TestPrefetch(t *testing.T) {
	const tag = "storm/a:1"
	w := newWorld(t, tag)
	w.store.add(tag, "x")
	for _, n := range []*corev1.Node{labelled("n1", "a"), labelled("n2", "a"), labelled("n3", "b")} {
		w.create(n)
	}
	w.run(minute)
	i := inZone(tag, "a")
	w.create(i)
	w.counts(i, 2, 0, 0, api.ReasonPrefetching)
	first := w.store.digest(tag)
	n1 := w.wants("n1", map[string]string{tag: first})
	w.wants("n2", map[string]string{tag: first})
	w.wants("n3", nil)
	node := newNode("n1")
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(node), node))
	if o := n1.OwnerReferences; len(o) != 1 || o[0].UID != node.UID {
		t.Errorf("owners %+v, want the Node", o)
	}

	w.has("n1", tag, first, api.PrefetchReady, "")
	w.has("n2", tag, first, api.PrefetchFailed, "no space in the layer cache")
	c := w.counts(i, 2, 1, 1, api.ReasonPrefetchFailed)
	if want := "n2: no space in the layer cache"; len(c.Message) == 0 || c.Message[len(c.Message)-len(want):] != want {
		t.Errorf("message %q", c.Message)
	}
	w.hasEvent(i, api.ReasonPrefetchFailed)
	w.has("n2", tag, first, api.PrefetchReady, "")
	w.counts(i, 2, 2, 0, api.ReasonPrefetched)
	w.hasEvent(i, api.ReasonPrefetched)
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)

	// A label decides, and a node that is not there is not counted.
	w.must(w.c.Patch(w.ctx, labelled("n3", "a"), client.MergeFrom(newNode("n3"))))
	w.counts(i, 3, 2, 0, api.ReasonPrefetching)
	w.wants("n3", map[string]string{tag: first})
	w.must(w.c.Patch(w.ctx, labelled("n2", "b"), client.MergeFrom(newNode("n2"))))
	w.wants("n2", nil)
	w.must(w.c.Delete(w.ctx, newNode("n3")))
	w.wants("n3", nil)
	w.counts(i, 1, 1, 0, api.ReasonPrefetched)

	// A tag that moves takes the prefetch with it.
	w.store.add(tag, "y")
	w.wants("n1", map[string]string{tag: w.store.digest(tag)})
	w.counts(i, 1, 0, 0, api.ReasonPrefetching)

	// Without prefetch, nothing of it is left.
	i.Spec.Prefetch = nil
	w.must(w.c.Update(w.ctx, i))
	w.wants("n1", nil)
	w.eventually(func() error {
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i))
		if c := meta.FindStatusCondition(i.Status.Conditions, api.ImagePrefetched); c != nil || i.Status.Prefetch != nil {
			return fmt.Errorf("left: %+v, %+v", i.Status.Prefetch, c)
		}
		return nil
	})
}

func TestPrefetchWithoutNodes(t *testing.T) {
	const tag = "storm/a:1"
	w := newWorld(t, tag)
	w.store.add(tag, "x")
	w.create(labelled("n1", "a"))
	w.run(minute)
	i := inZone(tag, "nowhere")
	w.create(i)
	w.counts(i, 0, 0, 0, api.ReasonNoNodeSelected)
	w.must(w.c.Patch(w.ctx, labelled("n1", "nowhere"), client.MergeFrom(newNode("n1"))))
	w.counts(i, 1, 0, 0, api.ReasonPrefetching)

	i.Spec.Prefetch.NodeSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: "Near"}}}
	w.must(w.c.Update(w.ctx, i))
	w.counts(i, 0, 0, 0, api.ReasonSelectorInvalid)
	w.wants("n1", nil)
	// It is no error that is tried again and again.
	w.eventually(func() error { // until the other controller has seen the change too
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i))
		if c := meta.FindStatusCondition(i.Status.Conditions, api.ImageReady); c.ObservedGeneration != i.Generation {
			return fmt.Errorf("generation %d is not observed yet: %+v", i.Generation, c)
		}
		return nil
	})
	reconciles := reconcileCount(t, "prefetch")
	w.noHotLoop(i)
	if n := reconcileCount(t, "prefetch") - reconciles; n > 0 {
		t.Errorf("%v reconciles without news", n)
	}
}

// TestStormNodeOfAnAgent: a node with an agent has a StormNode, where that says
// how it is reached, though the node shall have no image ahead of time.
func TestStormNodeOfAnAgent(t *testing.T) {
	w := newWorld(t)
	w.create(newNode("n1"))
	w.run(minute)
	w.wants("n1", nil)
	lease := newLease("n1")
	w.create(lease)
	w.eventually(func() error { return w.c.Get(w.ctx, client.ObjectKey{Name: "n1"}, new(api.StormNode)) })
	w.must(w.c.Delete(w.ctx, lease))
	w.wants("n1", nil)
}

// TestPrefetchOfAnImageToCome: nodes wait for an image that the store has not.
func TestPrefetchOfAnImageToCome(t *testing.T) {
	const tag = "storm/a:1"
	w := newWorld(t, tag)
	w.create(labelled("n1", "a"))
	w.run(minute)
	i := inZone(tag, "a")
	w.create(i)
	w.hasCondition(i, api.ImageReady, metav1.ConditionFalse, api.ReasonTagNotFound)
	w.counts(i, 1, 0, 0, api.ReasonImagePending)
	w.wants("n1", nil)
	w.store.add(tag, "x")
	w.counts(i, 1, 0, 0, api.ReasonPrefetching)
	n1 := w.wants("n1", map[string]string{tag: w.store.digest(tag)})

	// A hand that meddles is put right.
	n1.Spec.Images[0].ManifestDigest = digestOf("other")
	w.must(w.c.Update(w.ctx, n1))
	w.wants("n1", map[string]string{tag: w.store.digest(tag)})

	// While the store is away, what is here stays wanted.
	w.store.leave()
	w.hasCondition(i, api.ImageReady, metav1.ConditionUnknown, api.ReasonStoreUnavailable)
	w.wants("n1", map[string]string{tag: i.Status.ManifestDigest})
}

// TestPrefetchCountsTogether: many nodes that are done at once are few writes.
func TestPrefetchCountsTogether(t *testing.T) {
	const tag, nodes = "storm/a:1", 60
	w := newWorld(t, tag)
	w.store.add(tag, "x")
	for n := range nodes {
		w.create(newNode(fmt.Sprintf("n%d", n)))
	}
	w.run(minute)
	i := newImage(tag)
	i.Spec.Prefetch = &api.StormImagePrefetch{}
	w.create(i)
	w.counts(i, nodes, 0, 0, api.ReasonPrefetching)
	digest := w.store.digest(tag)
	for n := range nodes {
		w.wants(fmt.Sprintf("n%d", n), map[string]string{tag: digest})
	}
	reconciles, begin := reconcileCount(t, "prefetch"), time.Now()
	for n := range nodes {
		w.has(fmt.Sprintf("n%d", n), tag, digest, api.PrefetchReady, "")
	}
	w.counts(i, nodes, nodes, 0, api.ReasonPrefetched)
	most := time.Since(begin)/countPause + 2
	if n := reconcileCount(t, "prefetch") - reconciles; n > float64(most) {
		t.Errorf("counted %v times in %s", n, time.Since(begin))
	}
}
