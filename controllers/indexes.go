package controllers

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Fields by which the cache finds objects.
const (
	// imageByTag finds StormImages by their tag.
	imageByTag = "spec.tag"
	// unboundByImage finds workers that are not bound yet by spec.image.
	unboundByImage = "unbound.spec.image"
	// unboundByClaim finds workers that are not bound yet by their own id and by that
	// of their topology.
	unboundByClaim = "unbound.claim"
	// workerByNode finds workers by the node that they are bound to or want;
	// "" are those that wait for any node.
	workerByNode = "node"
)

func indexFields(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range []struct {
		kind  client.Object
		field string
		keys  client.IndexerFunc
	}{
		{&api.StormImage{}, imageByTag, keysOf(func(i *api.StormImage) []string { return []string{i.Spec.Tag} })},
		{&api.StormWorker{}, unboundByImage, keysOf(unboundImage)},
		{&api.StormWorker{}, unboundByClaim, keysOf(unboundClaims)},
		{&api.StormWorker{}, workerByNode, keysOf(func(w *api.StormWorker) []string { return []string{nodeOf(w)} })},
	} {
		if err := indexer.IndexField(ctx, i.kind, i.field, i.keys); err != nil {
			return fmt.Errorf("index %T by %s: %w", i.kind, i.field, err)
		}
	}
	return nil
}

// keysOf adapts keys, which takes objects of its own kind.
func keysOf[T client.Object](keys func(T) []string) client.IndexerFunc {
	return func(o client.Object) []string {
		obj, ok := o.(T)
		if !ok {
			return nil
		}
		return keys(obj)
	}
}

func unboundImage(w *api.StormWorker) []string {
	if bound(w) {
		return nil
	}
	return []string{w.Spec.Image}
}

func unboundClaims(w *api.StormWorker) []string {
	if bound(w) {
		return nil
	}
	return []string{w.ID(), w.Spec.TopologyID}
}

// nodeOf returns the node that w is bound to, or else asks for.
func nodeOf(w *api.StormWorker) string {
	if bound(w) {
		return w.Status.NodeName
	}
	return w.Spec.NodeName
}

func bound(w *api.StormWorker) bool { return w.Status.NodeName != "" }

// workerRequests lists workers and returns a request for each that want selects. They
// are read in place, since 50,000 are too many to copy.
func workerRequests(ctx context.Context, c client.Client, want func(*api.StormWorker) bool, opts ...client.ListOption) ([]ctrl.Request, error) {
	list := new(api.StormWorkerList)
	if err := c.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list StormWorkers: %w", err)
	}
	var found []ctrl.Request
	for i := range list.Items {
		if w := &list.Items[i]; want(w) {
			found = append(found, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(w)})
		}
	}
	return found, nil
}

func anyWorker(*api.StormWorker) bool { return true }

// imageRequests returns a request for every StormImage.
func imageRequests(ctx context.Context, c client.Client) ([]ctrl.Request, error) {
	list := new(api.StormImageList)
	if err := c.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list StormImages: %w", err)
	}
	found := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		found = append(found, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return found, nil
}
