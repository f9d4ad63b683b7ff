package controllers

import (
	"context"
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/managers"
)

// parallelNodes is how many StormNodes are written side by side.
const parallelNodes = 4

// nodeReconciler writes the images that nodes are to prefetch into their StormNodes, and
// by which certificates their agents know the managers. A node without images has a
// StormNode if it has an agent, which reports there how it is reached.
type nodeReconciler struct {
	client client.Client
}

func (r *nodeReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormnode").
		For(&api.StormNode{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: labelsChanged})).
		Watches(&coordinationv1.Lease{}, handler.EnqueueRequestsFromMapFunc(nodeOfAgent), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(event.UpdateEvent) bool { return false }, // it lives on
		})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.everyNode)).
		Watches(&api.StormImage{}, handler.EnqueueRequestsFromMapFunc(r.everyNode), builder.WithPredicates(predicate.Funcs{
			CreateFunc: func(e event.CreateEvent) bool { return isPrefetched(e.Object) },
			UpdateFunc: func(e event.UpdateEvent) bool {
				return (isPrefetched(e.ObjectOld) || isPrefetched(e.ObjectNew)) && prefetchChanged(e)
			},
			DeleteFunc: func(e event.DeleteEvent) bool { return isPrefetched(e.Object) },
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelNodes}).
		Complete(r)
}

// nodeOfAgent returns the node of an agent's Lease.
func nodeOfAgent(_ context.Context, o client.Object) []ctrl.Request {
	node, ok := nodeOfLease(o.GetName())
	if !ok || o.GetNamespace() != api.SystemNamespace {
		return nil
	}
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: node}}}
}

func labelsChanged(e event.UpdateEvent) bool {
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || !labels.Equals(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
}

func isPrefetched(o client.Object) bool {
	i, ok := o.(*api.StormImage)
	return ok && i.Spec.Prefetch != nil
}

// everyNode returns all nodes: any of them may be, or have been, selected by an image,
// and each agent knows the managers.
func (r *nodeReconciler) everyNode(ctx context.Context, _ client.Object) []ctrl.Request {
	nodes := new(corev1.NodeList)
	if err := r.client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		// The cache fails only when the manager ends.
		log.FromContext(ctx).Error(err, "nodes are not reconciled")
		return nil
	}
	all := make([]ctrl.Request, 0, len(nodes.Items))
	for n := range nodes.Items {
		all = append(all, ctrl.Request{NamespacedName: types.NamespacedName{Name: nodes.Items[n].Name}})
	}
	return all
}

// Reconcile writes what one node is to prefetch, and whom it lets in, into its StormNode.
func (r *nodeReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node := new(corev1.Node)
	wanted, needed, err := r.wanted(ctx, req.Name, node)
	if err != nil {
		return ctrl.Result{}, err
	}
	n := new(api.StormNode)
	err = r.client.Get(ctx, req.NamespacedName, n)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("get StormNode %s: %w", req.Name, err)
	}
	exists := err == nil
	switch {
	case exists && !n.DeletionTimestamp.IsZero():
		return ctrl.Result{}, nil // its end brings us here again
	case needed && !says(n, node, wanted):
		return apply.Outcome(r.apply(ctx, node, wanted))
	case !needed && exists:
		return apply.Outcome(r.remove(ctx, n))
	}
	return ctrl.Result{}, nil
}

// wanted reads a node and returns what its StormNode is to say, and whether it needs a
// StormNode: not if the Node was deleted.
func (r *nodeReconciler) wanted(ctx context.Context, name string, node *corev1.Node) (wanted api.StormNodeSpec, needed bool, err error) {
	if err := r.client.Get(ctx, types.NamespacedName{Name: name}, node); err != nil {
		if errors.IsNotFound(err) {
			return wanted, false, nil
		}
		return wanted, false, fmt.Errorf("get Node %s: %w", name, err)
	}
	images := new(api.StormImageList)
	if err := r.client.List(ctx, images, client.UnsafeDisableDeepCopy); err != nil {
		return wanted, false, fmt.Errorf("list StormImages: %w", err)
	}
	wanted.Images = wantedImages(node.Labels, images.Items)
	if wanted.Managers, err = r.managers(ctx); err != nil {
		return wanted, false, err
	}
	lease := types.NamespacedName{Namespace: api.SystemNamespace, Name: api.LeaseName(name)}
	err = r.client.Get(ctx, lease, new(coordinationv1.Lease))
	if client.IgnoreNotFound(err) != nil {
		return wanted, false, fmt.Errorf("get Lease %s: %w", lease, err)
	}
	return wanted, len(wanted.Images) > 0 || err == nil, nil
}

// managers returns by what agents know the managers; nil if these have no
// certificate yet.
func (r *nodeReconciler) managers(ctx context.Context) (*api.StormNodeManagers, error) {
	secret := new(corev1.Secret)
	if err := r.client.Get(ctx, managers.Secret, secret); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Secret %s: %w", managers.Secret, err)
	}
	bundle := managers.Bundle(secret.Data)
	if len(bundle) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	return &api.StormNodeManagers{CABundle: bundle}, nil
}

// says reports whether n belongs to this very node and has this spec.
func says(n *api.StormNode, node *corev1.Node, wanted api.StormNodeSpec) bool {
	owned := slices.ContainsFunc(n.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == node.UID })
	return owned && equality.Semantic.DeepEqual(n.Spec, wanted)
}

// apply writes a whole StormNode. The Node owns it, so it is removed with the Node also
// while no manager runs.
func (r *nodeReconciler) apply(ctx context.Context, node *corev1.Node, wanted api.StormNodeSpec) error {
	n := &api.StormNode{
		ObjectMeta: metav1.ObjectMeta{
			Name:            node.Name,
			Labels:          map[string]string{"app.kubernetes.io/managed-by": api.ManagerFieldOwner},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
		Spec: wanted,
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		return fmt.Errorf("StormNode %s: %w", n.Name, err)
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(api.GroupVersion.WithKind("StormNode"))
	unstructured.RemoveNestedField(u.Object, "status")
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(api.ManagerFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply StormNode %s: %w", n.Name, err)
	}
	return nil
}

func (r *nodeReconciler) remove(ctx context.Context, n *api.StormNode) error {
	if err := r.client.Delete(ctx, n, client.Preconditions{UID: &n.UID}); err != nil {
		return fmt.Errorf("delete StormNode %s: %w", n.Name, err)
	}
	return nil
}
