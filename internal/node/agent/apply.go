package agent

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// applyStatus writes the agent's whole part of an object's status, and returns
// the version that it made. The UID keeps it from another object of the same
// name. It takes fields over from the manager. An object that is gone is no error.
func applyStatus(ctx context.Context, c client.Client, kind string, obj client.Object, status any) (version string, err error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return "", fmt.Errorf("status of %s %s: %w", kind, client.ObjectKeyFromObject(obj), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind(kind))
	u.SetNamespace(obj.GetNamespace())
	u.SetName(obj.GetName())
	u.SetUID(obj.GetUID())
	err = c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership)
	if err := client.IgnoreNotFound(err); err != nil {
		return "", fmt.Errorf("apply status of %s %s: %w", kind, client.ObjectKeyFromObject(obj), err)
	}
	return u.GetResourceVersion(), nil
}

// apply writes the status of a worker.
func (r *Reconciler) apply(ctx context.Context, w *api.StormWorker, status *api.StormWorkerStatus) error {
	version, err := applyStatus(ctx, r.Client, "StormWorker", w, status)
	if err != nil {
		return err
	}
	r.written.Store(w.UID, version)
	return nil
}

// behind tells whether w is older than what this process has written of it:
// then the watch will bring that soon, and nothing is to be concluded from w.
func (r *Reconciler) behind(w *api.StormWorker) bool {
	stored, _ := r.written.Load(w.UID)
	written, ok := stored.(string)
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(w.ResourceVersion, written)
	return err == nil && order < 0
}
