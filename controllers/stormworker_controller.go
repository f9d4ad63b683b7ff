package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/kube/requests"
)

// parallelWorkers is how many workers are reconciled at once; most of the time
// goes into waiting for the API server.
const parallelWorkers = 16

// workerReconciler admits StormWorkers, binds them to nodes and finalizes them.
type workerReconciler struct {
	client   client.Client
	events   events.EventRecorder
	clock    clock.PassiveClock
	settings func() Settings
	cache    *schedulerCache
	wake     *requests.Source
	metrics  *clusterMetrics
}

// Reconcile brings one worker as far as the manager can.
func (r *workerReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	w := new(api.StormWorker)
	if err := r.client.Get(ctx, req.NamespacedName, w); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return apply.Outcome(r.advance(ctx, w))
}

// advance takes the steps of a worker's life in order; each can be repeated.
func (r *workerReconciler) advance(ctx context.Context, w *api.StormWorker) error {
	if !w.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, w)
	}
	// First of all: a worker that a node starts must not lose its object.
	if err := r.ensureFinalizer(ctx, w); err != nil {
		return err
	}
	runtime := runtimeOf(w, r.settings().Runtime)
	verdict, err := r.admit(ctx, w, runtime)
	if err != nil {
		return err
	}
	status := r.bind(w, runtime, verdict)
	return r.applyStatus(ctx, w, status)
}

// ensureFinalizer puts the finalizer on w. Other owners share the list of finalizers, so
// it is written against the version that was read.
func (r *workerReconciler) ensureFinalizer(ctx context.Context, w *api.StormWorker) error {
	if controllerutil.ContainsFinalizer(w, api.WorkerFinalizer) {
		return nil
	}
	before := w.DeepCopy()
	controllerutil.AddFinalizer(w, api.WorkerFinalizer)
	return r.patchFinalizers(ctx, w, before)
}

// finalize removes the finalizer of a worker that is gone from its node. Until then
// the agent reports on the worker, or the node is lost.
func (r *workerReconciler) finalize(ctx context.Context, w *api.StormWorker) error {
	node := r.cache.view(w.Status.NodeName)
	if !finalizable(w, node) {
		return r.applyStatus(ctx, w, r.deletingStatus(w, node))
	}
	if !controllerutil.ContainsFinalizer(w, api.WorkerFinalizer) {
		return nil
	}
	before := w.DeepCopy()
	controllerutil.RemoveFinalizer(w, api.WorkerFinalizer)
	return r.patchFinalizers(ctx, w, before)
}

func (r *workerReconciler) patchFinalizers(ctx context.Context, w, before *api.StormWorker) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, w, patch, client.FieldOwner(api.ManagerFieldOwner)); err != nil {
		return fmt.Errorf("patch finalizers of StormWorker %s: %w", client.ObjectKeyFromObject(w), err)
	}
	return nil
}

// admit decides by what is known of the worker's image. It creates the StormImage
// of an allowed tag that has none.
func (r *workerReconciler) admit(ctx context.Context, w *api.StormWorker, runtime api.Runtime) (admission, error) {
	rules := r.settings().rulesOf(runtime)
	images := new(api.StormImageList)
	tag, err := rules.Select(w.Spec.Image)
	if pinned := bound(w) && w.Status.Image != nil; err == nil && !pinned && runtime == api.RuntimeRunc {
		if err := r.client.List(ctx, images, client.MatchingFields{imageByTag: tag}); err != nil {
			return admission{}, fmt.Errorf("list StormImages of tag %s: %w", tag, err)
		}
	}
	verdict := admitWorker(w, runtime, rules, images.Items)
	if verdict.condition.Reason == api.ReasonImagePending && len(images.Items) == 0 {
		return verdict, r.ensureImage(ctx, tag)
	}
	return verdict, nil
}

func (r *workerReconciler) ensureImage(ctx context.Context, tag string) error {
	i := &api.StormImage{
		ObjectMeta: metav1.ObjectMeta{
			Name:   api.ImageName(tag),
			Labels: map[string]string{"app.kubernetes.io/managed-by": api.ManagerFieldOwner},
		},
		Spec: api.StormImageSpec{Tag: tag},
	}
	err := r.client.Create(ctx, i, client.FieldOwner(api.ManagerFieldOwner))
	if err != nil && !errors.IsAlreadyExists(err) {
		return fmt.Errorf("create StormImage %s: %w", i.Name, err)
	}
	return nil
}

// bind chooses the node of an admitted worker. It returns the manager's part of
// the worker's status.
func (r *workerReconciler) bind(w *api.StormWorker, runtime api.Runtime, verdict admission) *api.StormWorkerStatus {
	status := ownStatus(w)
	status.Runtime, status.Image = runtime, verdict.image
	scheduled := metav1.Condition{
		Type: api.WorkerScheduled, Status: metav1.ConditionFalse, Reason: api.ReasonNotAdmitted,
		Message: "a node is chosen when the worker is admitted",
	}
	if !bound(w) && verdict.condition.Status == metav1.ConditionTrue {
		node, failure := r.cache.place(w, runtime)
		status.NodeName = node
		scheduled.Reason, scheduled.Message = failure.reason, failure.message
	}
	node := r.cache.view(status.NodeName)
	if status.NodeName != "" {
		scheduled = scheduledCondition(w, node)
	}
	conditions := []metav1.Condition{verdict.condition, scheduled}
	if ready := readyWorker(w, verdict.condition, scheduled, node); ready != nil {
		conditions = append(conditions, *ready)
	}
	r.setConditions(w, status, conditions)
	return status
}

// deletingStatus returns the manager's part of the status of a worker that is being
// deleted. It says so if the worker's node is lost.
func (r *workerReconciler) deletingStatus(w *api.StormWorker, node nodeView) *api.StormWorkerStatus {
	status := ownStatus(w)
	if lost := lostMessage(node); lost != "" {
		r.setConditions(w, status, []metav1.Condition{{
			Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost,
			Message: lost + "; the object is removed when the agent is back and has removed the worker, or when the Node is deleted",
		}})
	}
	return status
}

// ownStatus returns the part of w's status that is always the manager's.
func ownStatus(w *api.StormWorker) *api.StormWorkerStatus {
	return &api.StormWorkerStatus{
		NodeName: w.Status.NodeName, Runtime: w.Status.Runtime, Image: w.Status.Image,
		Conditions: condition.Select(w.Status.Conditions, api.WorkerAdmitted, api.WorkerScheduled),
	}
}

// setConditions sets conditions in status. Each keeps the time of its last
// transition in w, also Ready, which is not always the manager's.
func (r *workerReconciler) setConditions(w *api.StormWorker, status *api.StormWorkerStatus, conditions []metav1.Condition) {
	for _, c := range conditions {
		if c.Type == api.WorkerReady {
			status.Conditions = append(status.Conditions, condition.Select(w.Status.Conditions, api.WorkerReady)...)
		}
		condition.Set(&status.Conditions, c, w.Generation, r.clock.Now())
	}
}

// applyStatus applies status if it differs from w's, and then emits events for what
// is new.
func (r *workerReconciler) applyStatus(ctx context.Context, w *api.StormWorker, status *api.StormWorkerStatus) error {
	current := ownStatus(w)
	ready := meta.FindStatusCondition(status.Conditions, api.WorkerReady)
	if ready != nil {
		current.Conditions = append(current.Conditions, condition.Select(w.Status.Conditions, api.WorkerReady)...)
	}
	if equality.Semantic.DeepEqual(current, status) {
		return nil
	}
	if err := applyStatus(ctx, r.client, w, status); err != nil {
		return err
	}
	if !bound(w) && status.NodeName != "" {
		r.metrics.placed(w, r.clock.Now())
	}
	for _, s := range workerEvents(w.Status.Conditions, status.Conditions) {
		r.events.Eventf(w, nil, s.eventType, s.reason, "Schedule", "%s", s.message)
	}
	return nil
}

// workerEvents returns the events of a status: one for each change.
func workerEvents(before, after []metav1.Condition) []conditionEvent {
	var found []conditionEvent
	for _, c := range after {
		s, isNew := newEvent(before, c)
		switch {
		case !isNew:
		case c.Reason == api.ReasonAdmitted, c.Reason == api.ReasonNotAdmitted:
			// The other condition of the same write says more.
		case c.Type == api.WorkerReady && c.Reason != api.ReasonNodeLost:
			// Ready repeats what the others say.
		case c.Reason == api.ReasonScheduled:
			s.message += "; " + condition.Message(after, api.WorkerAdmitted)
			found = append(found, s)
		default:
			found = append(found, s)
		}
	}
	return found
}
