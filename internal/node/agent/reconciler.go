// Package agent joins one node's engine with the cluster: it reads the StormWorkers
// that are bound to its node, passes them to the engine, and reports their state. It is
// the only package of the node that knows Kubernetes.
package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// What an agent may do. Status and events are all that it writes, besides its
// own Lease.
//
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormworkers;stormimages;stormnodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormworkers/status;stormnodes/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=stormcell-system,resources=leases,verbs=create;patch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// passingDelay is how long a launch must last for its phases to be reported: a
// warm start goes through them in less, and asks the API server for none.
const passingDelay = 200 * time.Millisecond

// parallelReconciles is how many workers are looked at side by side. None of
// it waits for the node: the engine's actors do that.
const parallelReconciles = 4

// Engine is what the reconciler needs of an engine.Engine.
type Engine interface {
	Ensure(w worker.Spec, past engine.Past)
	Purge(w worker.Spec, past engine.Past)
	Remove(uid string)
	Forget(uid string)
	State(uid string) (engine.State, bool)
	States() []engine.State
}

// Reconciler makes the engine agree with the StormWorkers of one node, and
// their status with the engine.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Engine Engine
	// Node is the name of this node.
	Node string
	// Heartbeat reports whether the manager sees this agent as live.
	Heartbeat *Heartbeat
	// Changes feeds the engine's changes to the controller.
	Changes *Changes

	// written has, by UID, the version that the last apply of a status made.
	written sync.Map
}

// SetupWithManager registers the reconciler.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormworker").
		For(&api.StormWorker{}).
		WatchesRawSource(r.Changes).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelReconciles}).
		Complete(r)
}

// Reconcile passes the desired state of one StormWorker to the engine, and then
// reports its current state.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	w := new(api.StormWorker)
	err := r.Client.Get(ctx, req.NamespacedName, w)
	if err != nil && !errors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("get StormWorker %s: %w", req, err)
	}
	found := err == nil && w.Status.NodeName == r.Node
	// An object that is gone, or another of the same name, leaves its worker
	// behind: nobody will ask for the status of that one.
	if r.removeOthers(req.NamespacedName, w.UID, found); !found {
		return ctrl.Result{}, nil
	}
	switch {
	case !w.DeletionTimestamp.IsZero():
		// Whatever this node remembers of it: it may have been rebooted.
		r.Engine.Purge(specOf(w, manifest.Image{}), pastOf(w))
	case refused(w):
		r.withdraw(w)
	case admitted(w):
		image, err := r.image(ctx, w)
		if err != nil {
			return ctrl.Result{}, err
		}
		r.Engine.Ensure(specOf(w, image), pastOf(w))
	}
	return r.report(ctx, w)
}

// removeOthers removes workers of this name with another UID than the object's.
func (r *Reconciler) removeOthers(name types.NamespacedName, uid types.UID, found bool) {
	for _, s := range r.Engine.States() {
		if s.Namespace != name.Namespace || s.Name != name.Name || found && s.UID == string(uid) {
			continue
		}
		if s.Phase == engine.Removed {
			r.Engine.Forget(s.UID)
			r.written.Delete(types.UID(s.UID))
		} else {
			r.Engine.Remove(s.UID)
		}
	}
}

// admitted tells whether the manager has admitted this very generation.
func admitted(w *api.StormWorker) bool {
	return w.Status.Image != nil && saidOf(w, metav1.ConditionTrue)
}

// refused tells whether the manager has refused this very generation.
func refused(w *api.StormWorker) bool { return saidOf(w, metav1.ConditionFalse) }

func saidOf(w *api.StormWorker, status metav1.ConditionStatus) bool {
	c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerAdmitted)
	return c != nil && c.Status == status && c.ObservedGeneration == w.Generation
}

// withdraw gives up a launch that the manager has come to refuse. Once nothing
// of it is left it is forgotten, so that it can begin again if it is admitted.
// A worker that runs, or has run to its end, is not the manager's to refuse.
func (r *Reconciler) withdraw(w *api.StormWorker) {
	uid := string(w.UID)
	switch s, known := r.Engine.State(uid); {
	case !known, s.Phase == engine.Running, s.Phase == engine.Ended:
	case s.Phase == engine.Removed:
		r.Engine.Forget(uid)
	default:
		r.Engine.Remove(uid)
	}
}

// report applies the status of a worker if it is not what the object says, and
// tells of a new reason in an event.
func (r *Reconciler) report(ctx context.Context, w *api.StormWorker) (ctrl.Result, error) {
	state, known := r.Engine.State(string(w.UID))
	switch {
	case r.behind(w), !known && !spoken(w):
		return ctrl.Result{}, nil // a look is due soon; or it is the manager's yet
	case lost(w) && !r.Heartbeat.Beats():
		// The manager has no news of this node: to contradict it would start
		// a quarrel, until the Lease is renewed again.
		return ctrl.Result{RequeueAfter: leaseRenewal}, nil
	case !known:
		state = engine.State{Phase: engine.Removed, ContainerID: w.ContainerID()}
	case passing(state.Phase) && time.Since(state.Since) < passingDelay:
		return ctrl.Result{RequeueAfter: passingDelay}, nil
	}
	status := statusOf(w, state, time.Now())
	if reported(w, status) {
		return ctrl.Result{}, nil
	}
	if err := r.apply(ctx, w, status); err != nil {
		return apply.Outcome(err)
	}
	r.tell(w, status)
	return ctrl.Result{}, nil
}

// spoken tells whether an agent has reported on w before.
func spoken(w *api.StormWorker) bool {
	return meta.FindStatusCondition(w.Status.Conditions, api.WorkerLocalized) != nil
}

// lost tells whether the manager has given up this node.
func lost(w *api.StormWorker) bool {
	return condition.Reason(w.Status.Conditions, api.WorkerReady) == api.ReasonNodeLost
}

func passing(p engine.Phase) bool {
	return p == engine.Localizing || p == engine.Mounting || p == engine.Starting
}

// tell emits an event if the reason of Ready is new.
func (r *Reconciler) tell(w *api.StormWorker, status *api.StormWorkerStatus) {
	before := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
	ready := meta.FindStatusCondition(status.Conditions, api.WorkerReady)
	if before != nil && before.Reason == ready.Reason && w.Status.RestartCount == status.RestartCount {
		return
	}
	r.Events.Eventf(w, nil, eventType(ready.Reason), ready.Reason, "Run", "%s", ready.Message)
}
