package controllers

import (
	"context"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/requests"
)

// leaseReconciler follows the Leases of the node-agents, and lets the workers
// of a node look again when its agent falls silent or comes to life.
type leaseReconciler struct {
	client  client.Client
	cache   *schedulerCache
	workers *requests.Source
}

func (r *leaseReconciler) setup(mgr ctrl.Manager) error {
	ofAgent := predicate.NewPredicateFuncs(func(o client.Object) bool {
		_, ok := nodeOfLease(o.GetName())
		return ok && o.GetNamespace() == api.SystemNamespace
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("lease").
		For(&coordinationv1.Lease{}, builder.WithPredicates(ofAgent)).
		Complete(r)
}

// nodeOfLease is the reverse of api.LeaseName.
func nodeOfLease(lease string) (node string, ok bool) {
	return strings.CutPrefix(lease, api.LeaseName(""))
}

// Reconcile checks one agent, now and again when it may have become silent.
func (r *leaseReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node, _ := nodeOfLease(req.Name)
	lease := new(coordinationv1.Lease)
	err := r.client.Get(ctx, req.NamespacedName, lease)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return ctrl.Result{}, fmt.Errorf("get Lease %s: %w", req, err)
	case err != nil:
		r.cache.removeHeartbeat(node)
		return ctrl.Result{}, r.wake(ctx, node)
	}
	if observeLease(r.cache, lease) {
		err = r.wake(ctx, node)
	}
	left := r.cache.timeUntilSilent(node)
	if left == 0 {
		err = r.wake(ctx, node)
	}
	return ctrl.Result{RequeueAfter: left}, err
}

// observeLease records a Lease in the cache. It reports whether this made the agent
// live.
func observeLease(c *schedulerCache, lease *coordinationv1.Lease) (revived bool) {
	node, ok := nodeOfLease(lease.Name)
	if !ok || lease.Spec.RenewTime == nil {
		return false
	}
	return c.recordHeartbeat(node, lease.Spec.RenewTime.Time)
}

// wake enqueues the workers of a node and those that wait for any node.
func (r *leaseReconciler) wake(ctx context.Context, node string) error {
	for _, name := range []string{node, ""} {
		found, err := workerRequests(ctx, r.client, anyWorker, client.MatchingFields{workerByNode: name})
		if err != nil {
			return err
		}
		r.workers.Add(found...)
	}
	return nil
}
