package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
)

// The nodes of an image are counted again at most once in a second, however
// many of them have news; and since every agent watches StormImages, so seldom
// that one image makes no more than 200 notices a second in the whole cluster.
const (
	countPause        = time.Second
	countPausePerNode = 5 * time.Millisecond
)

// prefetchReconciler counts, in the status of StormImages, the nodes that have
// prefetched them. nodeReconciler decides which nodes are to prefetch.
type prefetchReconciler struct {
	client client.Client
	events events.EventRecorder
	clock  clock.PassiveClock
}

func (r *prefetchReconciler) setup(mgr ctrl.Manager) error {
	objects := mgr.GetCache()
	return ctrl.NewControllerManagedBy(mgr).
		Named("prefetch").
		// Not at its own writes, or they would chase the nodes' news.
		For(&api.StormImage{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: prefetchChanged})).
		WatchesRawSource(source.Kind(objects, &api.StormNode{}, r.onStormNodes())).
		WatchesRawSource(source.Kind(objects, &corev1.Node{}, r.onNodes())).
		Complete(r)
}

// prefetchChanged reports whether other nodes are to prefetch an image than before, or
// another manifest.
func prefetchChanged(e event.UpdateEvent) bool {
	before, isImage := e.ObjectOld.(*api.StormImage)
	after, isStill := e.ObjectNew.(*api.StormImage)
	return isImage && isStill && (before.Generation != after.Generation || before.UID != after.UID ||
		before.Status.ManifestDigest != after.Status.ManifestDigest || usable(*before) != usable(*after) ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero())
}

// Reconcile counts the nodes of one image.
func (r *prefetchReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	i := new(api.StormImage)
	if err := r.client.Get(ctx, req.NamespacedName, i); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !i.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	found, err := r.find(ctx, i)
	if err != nil {
		return ctrl.Result{}, err
	}
	return apply.Outcome(r.applyStatus(ctx, i, prefetchStatus(i, found, r.clock.Now())))
}

// find gathers the reports about i of the nodes that i selects. Objects are read in
// place, since there may be thousands.
func (r *prefetchReconciler) find(ctx context.Context, i *api.StormImage) (prefetchFindings, error) {
	selector, err := prefetchSelector(i)
	if err != nil || i.Spec.Prefetch == nil {
		return prefetchFindings{selectorErr: err}, nil //nolint:nilerr // a finding for the status
	}
	nodes, stormNodes := new(corev1.NodeList), new(api.StormNodeList)
	if err := r.client.List(ctx, nodes, client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return prefetchFindings{}, fmt.Errorf("list Nodes for StormImage %s: %w", i.Name, err)
	}
	if err := r.client.List(ctx, stormNodes, client.UnsafeDisableDeepCopy); err != nil {
		return prefetchFindings{}, fmt.Errorf("list StormNodes for StormImage %s: %w", i.Name, err)
	}
	byName := make(map[string]*api.StormNode, len(stormNodes.Items))
	for n := range stormNodes.Items {
		byName[stormNodes.Items[n].Name] = &stormNodes.Items[n]
	}
	var found prefetchFindings
	for n := range nodes.Items {
		name := nodes.Items[n].Name
		found.nodes = append(found.nodes, progressOf(name, byName[name], i))
	}
	return found, nil
}

// applyStatus applies status if it differs from the object's, and then emits an event
// for a new reason.
func (r *prefetchReconciler) applyStatus(ctx context.Context, i *api.StormImage, status api.StormImageStatus) error {
	if equality.Semantic.DeepEqual(i.Status, status) {
		return nil
	}
	if err := applyStatus(ctx, r.client, i, &status); err != nil {
		return err
	}
	c := meta.FindStatusCondition(status.Conditions, api.ImagePrefetched)
	if c == nil {
		return nil
	}
	if s, isNew := newEvent(i.Status.Conditions, *c); isNew {
		r.events.Eventf(i, nil, s.eventType, s.reason, "Prefetch", "%s", s.message)
	}
	return nil
}

// onStormNodes enqueues the images about which a node reports a change.
func (r *prefetchReconciler) onStormNodes() onWatch[*api.StormNode] {
	none := new(api.StormNode)
	return onWatch[*api.StormNode]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*api.StormNode], q requestQueue) {
			r.recount(ctx, q, tagsOfNews(none, e.Object))
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*api.StormNode], q requestQueue) {
			r.recount(ctx, q, tagsOfNews(e.ObjectOld, e.ObjectNew))
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*api.StormNode], q requestQueue) {
			r.recount(ctx, q, tagsOfNews(e.Object, none))
		},
	}
}

// tagsOfNews returns the images about which a node reports a change that is counted.
// Bytes are not counted.
func tagsOfNews(before, after *api.StormNode) map[string]bool {
	type saying struct {
		digest, message string
		state           api.PrefetchState
	}
	said := map[string]saying{}
	for _, s := range before.Status.Images {
		said[s.Tag] = saying{s.ManifestDigest, s.Message, s.State}
	}
	news := map[string]bool{}
	for _, s := range after.Status.Images {
		if said[s.Tag] != (saying{s.ManifestDigest, s.Message, s.State}) {
			news[s.Tag] = true
		}
		delete(said, s.Tag)
	}
	for tag := range said {
		news[tag] = true
	}
	return news
}

func (r *prefetchReconciler) recount(ctx context.Context, q requestQueue, tags map[string]bool) {
	if len(tags) > 0 {
		r.enqueue(ctx, q, func(i *api.StormImage) bool { return tags[i.Spec.Tag] })
	}
}

// onNodes enqueues the images that begin or cease to select a node.
func (r *prefetchReconciler) onNodes() onWatch[*corev1.Node] {
	return onWatch[*corev1.Node]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*corev1.Node], q requestQueue) {
			r.enqueue(ctx, q, func(i *api.StormImage) bool { return chooses(i, e.Object.Labels) })
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*corev1.Node], q requestQueue) {
			if labels.Equals(e.ObjectOld.Labels, e.ObjectNew.Labels) {
				return
			}
			r.enqueue(ctx, q, func(i *api.StormImage) bool {
				return chooses(i, e.ObjectOld.Labels) != chooses(i, e.ObjectNew.Labels)
			})
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*corev1.Node], q requestQueue) {
			r.enqueue(ctx, q, func(i *api.StormImage) bool { return chooses(i, e.Object.Labels) })
		},
	}
}

// enqueue adds the images with spec.prefetch that want selects to q, after their pause.
// Changes until then are counted together.
func (r *prefetchReconciler) enqueue(ctx context.Context, q requestQueue, want func(*api.StormImage) bool) {
	list := new(api.StormImageList)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		// The cache fails only when the manager ends.
		log.FromContext(ctx).Error(err, "nodes of StormImages are not recounted")
		return
	}
	for n := range list.Items {
		if i := &list.Items[n]; i.Spec.Prefetch != nil && want(i) {
			q.AddAfter(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(i)}, pauseOf(i))
		}
	}
}

func pauseOf(i *api.StormImage) time.Duration {
	if i.Status.Prefetch == nil {
		return countPause
	}
	return max(countPause, time.Duration(i.Status.Prefetch.Nodes)*countPausePerNode)
}
