package controllers

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

type requestQueue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// setup registers the reconciler. The watches that fill the scheduler cache belong
// to this controller, because it starts only after all of them have synced.
func (r *workerReconciler) setup(mgr ctrl.Manager) error {
	objects := mgr.GetCache()
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormworker").
		For(&api.StormWorker{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: workerChanged})).
		WatchesRawSource(source.Kind(objects, &api.StormWorker{}, r.watchWorkers())).
		WatchesRawSource(source.Kind(objects, &corev1.Node{}, r.watchNodes())).
		WatchesRawSource(source.Kind(objects, &api.StormNode{}, r.watchStormNodes())).
		WatchesRawSource(source.Kind(objects, &corev1.Pod{}, r.watchPods())).
		WatchesRawSource(source.Kind(objects, &coordinationv1.Lease{}, r.watchLeases())).
		WatchesRawSource(source.Kind(objects, &api.StormImage{}, handler.TypedEnqueueRequestsFromMapFunc(r.awaitingImage))).
		WatchesRawSource(r.wake).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelWorkers}).
		Complete(r)
}

// workerChanged ignores changes of finalizers and labels alone.
func workerChanged(e event.UpdateEvent) bool {
	before, isWorker := e.ObjectOld.(*api.StormWorker)
	after, isStill := e.ObjectNew.(*api.StormWorker)
	return isWorker && isStill && (before.Generation != after.Generation || before.UID != after.UID ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!equality.Semantic.DeepEqual(before.Status, after.Status))
}

// onWatch are the event handlers for one kind of object.
type onWatch[T any] = handler.TypedFuncs[T, ctrl.Request]

// watchWorkers records workers in the cache. When one is deleted it enqueues the
// workers that wait for its port or its names.
func (r *workerReconciler) watchWorkers() onWatch[*api.StormWorker] {
	return onWatch[*api.StormWorker]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*api.StormWorker], _ requestQueue) {
			r.cache.setWorker(e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*api.StormWorker], q requestQueue) {
			if e.ObjectOld.UID != e.ObjectNew.UID {
				r.workerGone(ctx, q, e.ObjectOld)
			}
			r.cache.setWorker(e.ObjectNew)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*api.StormWorker], q requestQueue) {
			r.workerGone(ctx, q, e.Object)
		},
	}
}

// workerGone removes a worker from the cache and enqueues those that wait for what it
// had: resources, its port, its names.
func (r *workerReconciler) workerGone(ctx context.Context, q requestQueue, gone *api.StormWorker) {
	left := r.cache.removeWorker(gone.UID)
	for _, w := range left.activated {
		q.Add(ctrl.Request{NamespacedName: w})
	}
	if left.node == "" {
		return
	}
	waits := func(w *api.StormWorker) bool { return !bound(w) && w.Spec.Port == left.port }
	r.enqueue(ctx, q, left.node, waits)
	for _, name := range left.names {
		for _, req := range r.find(ctx, anyWorker, client.MatchingFields{unboundByClaim: name}) {
			q.Add(req)
		}
	}
}

// watchNodes records nodes in the cache. When one changes it enqueues the workers
// that the change may affect.
func (r *workerReconciler) watchNodes() onWatch[*corev1.Node] {
	seen := func(ctx context.Context, n *corev1.Node, q requestQueue) {
		if r.cache.setNode(n.Name, factsOf(n)) {
			r.enqueue(ctx, q, n.Name, anyWorker)
		}
	}
	return onWatch[*corev1.Node]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*corev1.Node], q requestQueue) {
			seen(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*corev1.Node], q requestQueue) {
			seen(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*corev1.Node], q requestQueue) {
			r.cache.removeNode(e.Object.Name)
			r.enqueue(ctx, q, e.Object.Name, anyWorker)
		},
	}
}

// watchStormNodes records the runtimes that agents report in the cache. When those of
// a node change it enqueues the workers that wait for a node.
func (r *workerReconciler) watchStormNodes() onWatch[*api.StormNode] {
	seen := func(ctx context.Context, node string, runtimes []api.Runtime, q requestQueue) {
		if r.cache.setRuntimes(node, runtimes) {
			r.enqueue(ctx, q, node, func(w *api.StormWorker) bool { return !bound(w) })
		}
	}
	return onWatch[*api.StormNode]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*api.StormNode], q requestQueue) {
			seen(ctx, e.Object.Name, e.Object.Status.Runtimes, q)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*api.StormNode], q requestQueue) {
			seen(ctx, e.ObjectNew.Name, e.ObjectNew.Status.Runtimes, q)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*api.StormNode], q requestQueue) {
			seen(ctx, e.Object.Name, nil, q)
		},
	}
}

// watchPods records what pods request. When resources are free again it enqueues
// the workers that wait for them. The informer has only pods that are bound and
// have not ended.
func (r *workerReconciler) watchPods() onWatch[*corev1.Pod] {
	seen := func(p *corev1.Pod, q requestQueue) { add(q, r.cache.setPod(p.UID, p.Spec.NodeName, podRequest(p))) }
	return onWatch[*corev1.Pod]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*corev1.Pod], q requestQueue) {
			seen(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*corev1.Pod], q requestQueue) {
			if e.ObjectOld.UID != e.ObjectNew.UID {
				add(q, r.cache.removePod(e.ObjectOld.UID))
			}
			seen(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*corev1.Pod], q requestQueue) {
			add(q, r.cache.removePod(e.Object.UID))
		},
	}
}

// watchLeases records the heartbeats of agents in the cache. leaseReconciler
// handles those that stay away.
func (r *workerReconciler) watchLeases() onWatch[*coordinationv1.Lease] {
	seen := func(ctx context.Context, lease *coordinationv1.Lease, q requestQueue) {
		if observeLease(r.cache, lease) {
			node, _ := nodeOfLease(lease.Name)
			r.enqueue(ctx, q, node, anyWorker)
		}
	}
	return onWatch[*coordinationv1.Lease]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*coordinationv1.Lease], q requestQueue) {
			seen(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*coordinationv1.Lease], q requestQueue) {
			seen(ctx, e.ObjectNew, q)
		},
	}
}

// add enqueues workers.
func add(q requestQueue, workers []types.NamespacedName) {
	for _, w := range workers {
		q.Add(ctrl.Request{NamespacedName: w})
	}
}

// enqueue adds to q the workers that want selects, of those that are on a node,
// ask for it or wait for any node.
func (r *workerReconciler) enqueue(ctx context.Context, q requestQueue, node string, want func(*api.StormWorker) bool) {
	for _, name := range []string{node, ""} {
		for _, req := range r.find(ctx, want, client.MatchingFields{workerByNode: name}) {
			q.Add(req)
		}
	}
}

func (r *workerReconciler) find(ctx context.Context, want func(*api.StormWorker) bool, fields client.MatchingFields) []ctrl.Request {
	found, err := workerRequests(ctx, r.client, want, fields)
	if err != nil {
		// The list fails only when the manager ends.
		log.FromContext(ctx).Error(err, "workers are not reconciled")
	}
	return found
}

// awaitingImage returns the workers that are not bound yet and use an image, by
// its name or as the default.
func (r *workerReconciler) awaitingImage(ctx context.Context, i *api.StormImage) []ctrl.Request {
	found := r.find(ctx, anyWorker, client.MatchingFields{unboundByImage: i.Spec.Tag})
	if r.settings().Images.Default == i.Spec.Tag {
		found = append(found, r.find(ctx, anyWorker, client.MatchingFields{unboundByImage: ""})...)
	}
	return found
}
