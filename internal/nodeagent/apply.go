package nodeagent

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// apply writes the agent's whole part of w's status. The UID keeps it from
// another worker of the same name. It takes Ready over from the manager.
func (r *Reconciler) apply(ctx context.Context, w *api.StormWorker, status *api.StormWorkerStatus) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("status of StormWorker %s/%s: %w", w.Namespace, w.Name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind("StormWorker"))
	u.SetNamespace(w.Namespace)
	u.SetName(w.Name)
	u.SetUID(w.UID)
	err = r.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership)
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("apply status of StormWorker %s/%s: %w", w.Namespace, w.Name, err)
	}
	r.written.Store(w.UID, u.GetResourceVersion())
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
