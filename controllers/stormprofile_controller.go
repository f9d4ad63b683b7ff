package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// profileAge is how long a StormProfile stays after its end, or after its duration if
// its node never reports an end. Its files stay with the worker's artifacts.
const profileAge = 24 * time.Hour

// profileReconciler binds StormProfiles to the nodes of their workers, and removes old
// ones. The agents of the nodes do the rest.
type profileReconciler struct {
	client client.Client
	// live reads past the cache: what is said of a profile is final.
	live   client.Reader
	events events.EventRecorder
	clock  clock.PassiveClock
}

func (r *profileReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("stormprofile").For(&api.StormProfile{}).Complete(r)
}

// Reconcile binds or removes one StormProfile.
func (r *profileReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := new(api.StormProfile)
	if err := r.client.Get(ctx, req.NamespacedName, p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if left := profileEnd(p).Sub(r.clock.Now()); left <= 0 {
		return apply.Outcome(r.remove(ctx, p))
	} else if p.Status.NodeName != "" || profileComplete(p) {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	return r.bind(ctx, p)
}

// profileEnd returns when p is to be removed.
func profileEnd(p *api.StormProfile) time.Time {
	if p.Status.FinishedAt != nil {
		return p.Status.FinishedAt.Add(profileAge)
	}
	end := p.CreationTimestamp.Add(profileAge)
	if p.Spec.Duration != nil {
		end = end.Add(p.Spec.Duration.Duration)
	}
	return end
}

func profileComplete(p *api.StormProfile) bool {
	return meta.IsStatusConditionTrue(p.Status.Conditions, api.ProfileComplete)
}

// bind sets the node and the worker of p, or why there is none. It does so once: a
// profile does not wait for a worker to run. The cache may be older than what the
// user has seen who made the profile.
func (r *profileReconciler) bind(ctx context.Context, p *api.StormProfile) (ctrl.Result, error) {
	w := new(api.StormWorker)
	err := r.live.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Spec.WorkerName}, w)
	if err != nil && !errors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("get StormWorker of StormProfile %s/%s: %w", p.Namespace, p.Name, err)
	}
	if err != nil {
		w = nil
	}
	status := boundProfile(p, w, r.clock.Now())
	if err := applyStatus(ctx, r.client, p, status); err != nil {
		return apply.Outcome(err)
	}
	if c := status.Conditions[0]; c.Status == metav1.ConditionTrue {
		r.events.Eventf(p, nil, "Warning", c.Reason, "Profile", "%s", c.Message)
	}
	return ctrl.Result{}, nil
}

// boundProfile returns the manager's part of the status of a new profile of w; w is nil
// if there is no such worker.
func boundProfile(p *api.StormProfile, w *api.StormWorker, now time.Time) *api.StormProfileStatus {
	status := new(api.StormProfileStatus)
	c := metav1.Condition{Type: api.ProfileComplete, Status: metav1.ConditionTrue, Reason: api.ReasonFailed}
	switch {
	case w == nil:
		c.Message = fmt.Sprintf("there is no StormWorker %s in namespace %s; see kubectl get sw", p.Spec.WorkerName, p.Namespace)
	case !meta.IsStatusConditionTrue(w.Status.Conditions, api.WorkerReady) || w.Status.NodeName == "":
		reason := condition.Reason(w.Status.Conditions, api.WorkerReady)
		c.Message = fmt.Sprintf("StormWorker %s is not running (%s: %s); create another profile when it is",
			w.Name, reason, condition.Message(w.Status.Conditions, api.WorkerReady))
	default:
		status.NodeName, status.WorkerUID = w.Status.NodeName, string(w.UID)
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, api.ReasonPending, "node "+w.Status.NodeName+" has not started the profile yet"
	}
	if c.Status == metav1.ConditionTrue {
		status.FinishedAt = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	condition.Set(&status.Conditions, c, p.Generation, now)
	return status
}

func (r *profileReconciler) remove(ctx context.Context, p *api.StormProfile) error {
	if err := r.client.Delete(ctx, p, client.Preconditions{UID: &p.UID}); err != nil {
		return fmt.Errorf("delete StormProfile %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
