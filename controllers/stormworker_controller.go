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

// parallelWorkers is how many workers are looked at side by side; most of the
// time goes into waiting for the API server.
const parallelWorkers = 16

// workerReconciler admits StormWorkers, binds them to nodes and lets them go.
type workerReconciler struct {
	client   client.Client
	events   events.EventRecorder
	clock    clock.PassiveClock
	settings func() Settings
	board    *board
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
		return r.release(ctx, w)
	}
	// Before all else: what a node begins must not lose its object.
	if err := r.hold(ctx, w); err != nil {
		return err
	}
	runtime := runtimeOf(w, r.settings().Runtime)
	verdict, err := r.admit(ctx, w, runtime)
	if err != nil {
		return err
	}
	status := r.bind(w, verdict)
	status.Runtime = runtime
	return r.write(ctx, w, status)
}

// hold puts the finalizer on w. Other owners share the list of finalizers, so
// it is written against the version that was read.
func (r *workerReconciler) hold(ctx context.Context, w *api.StormWorker) error {
	if controllerutil.ContainsFinalizer(w, api.WorkerFinalizer) {
		return nil
	}
	before := w.DeepCopy()
	controllerutil.AddFinalizer(w, api.WorkerFinalizer)
	return r.patchFinalizers(ctx, w, before)
}

// release takes the finalizer off a worker of which nothing can be left on a
// node. Until then the agent reports on it, or the node is lost.
func (r *workerReconciler) release(ctx context.Context, w *api.StormWorker) error {
	node := r.board.view(w.Status.NodeName)
	if !releaseWorker(w, node) {
		return r.write(ctx, w, r.farewell(w, node))
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

// admit gathers what is known of the worker's image and decides by it. It makes
// the StormImage of a tag that is allowed and has none.
func (r *workerReconciler) admit(ctx context.Context, w *api.StormWorker, runtime api.Runtime) (admission, error) {
	rules := r.settings().Images
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

// bind gives a worker that is admitted its node, and words all that the manager
// says of it.
func (r *workerReconciler) bind(w *api.StormWorker, verdict admission) *api.StormWorkerStatus {
	status := ownStatus(w)
	status.Image = verdict.image
	scheduled := metav1.Condition{
		Type: api.WorkerScheduled, Status: metav1.ConditionFalse, Reason: api.ReasonNotAdmitted,
		Message: "a node is chosen when the worker is admitted",
	}
	if !bound(w) && verdict.condition.Status == metav1.ConditionTrue {
		node, refusal := r.board.place(w)
		status.NodeName = node
		scheduled.Reason, scheduled.Message = refusal.reason, refusal.message
	}
	node := r.board.view(status.NodeName)
	if status.NodeName != "" {
		scheduled = scheduledCondition(w, node)
	}
	conditions := []metav1.Condition{verdict.condition, scheduled}
	if ready := readyWorker(w, verdict.condition, scheduled, node); ready != nil {
		conditions = append(conditions, *ready)
	}
	r.say(w, status, conditions)
	return status
}

// farewell words what the manager says of a worker that is being deleted: that
// its node is lost, if it is so.
func (r *workerReconciler) farewell(w *api.StormWorker, node nodeView) *api.StormWorkerStatus {
	status := ownStatus(w)
	if lost := lostMessage(node); lost != "" {
		r.say(w, status, []metav1.Condition{{
			Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost,
			Message: lost + "; the object goes when the agent is back and has removed the worker, or when the Node is deleted",
		}})
	}
	return status
}

// ownStatus is the part of w's status that is always the manager's.
func ownStatus(w *api.StormWorker) *api.StormWorkerStatus {
	return &api.StormWorkerStatus{
		NodeName: w.Status.NodeName, Runtime: w.Status.Runtime, Image: w.Status.Image,
		Conditions: condition.Select(w.Status.Conditions, api.WorkerAdmitted, api.WorkerScheduled),
	}
}

// say sets conditions in status. Each keeps the time of its last transition
// from w, also Ready, which is not always the manager's.
func (r *workerReconciler) say(w *api.StormWorker, status *api.StormWorkerStatus, conditions []metav1.Condition) {
	for _, c := range conditions {
		if c.Type == api.WorkerReady {
			status.Conditions = append(status.Conditions, condition.Select(w.Status.Conditions, api.WorkerReady)...)
		}
		condition.Set(&status.Conditions, c, w.Generation, r.clock.Now())
	}
}

// write applies status if w does not say it already, and then tells of what is
// new.
func (r *workerReconciler) write(ctx context.Context, w *api.StormWorker, status *api.StormWorkerStatus) error {
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
	for _, s := range workerStories(w.Status.Conditions, status.Conditions) {
		r.events.Eventf(w, nil, s.eventType, s.reason, "Schedule", "%s", s.message)
	}
	return nil
}

// workerStories are the events of a status: one for each thing that is news.
func workerStories(before, after []metav1.Condition) []story {
	var stories []story
	for _, c := range after {
		s, isNew := tell(before, c)
		switch {
		case !isNew:
		case c.Reason == api.ReasonAdmitted, c.Reason == api.ReasonNotAdmitted:
			// The other condition of the same write tells more.
		case c.Type == api.WorkerReady && c.Reason != api.ReasonNodeLost:
			// Ready repeats what the others say.
		case c.Reason == api.ReasonScheduled:
			s.message += "; " + condition.Message(after, api.WorkerAdmitted)
			stories = append(stories, s)
		default:
			stories = append(stories, s)
		}
	}
	return stories
}
