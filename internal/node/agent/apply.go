package agent

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
)

// applyStatus writes the agent's part of an object's status, and returns the
// version that it made.
func applyStatus(ctx context.Context, c client.Client, obj client.Object, part any) (version string, err error) {
	return apply.Status(ctx, c, client.FieldOwner(api.AgentFieldOwner), obj, part)
}

// apply writes the status of a worker.
func (r *Reconciler) apply(ctx context.Context, w *api.StormWorker, status *api.StormWorkerStatus) error {
	version, err := applyStatus(ctx, r.Client, w, status)
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
	return ok && apply.Older(w, written)
}

// behind tells whether n is older than what this process has written of it.
func (p *Prefetcher) behind(n *api.StormNode) bool { return apply.Older(n, p.version) }
