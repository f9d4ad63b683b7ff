// Package apply writes the status of objects by server-side apply. Each program
// writes its own part of it, under its own field owner.
package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Status writes the whole of owner's part of obj's status, and returns the
// version of the object that this has made. What the owner wrote before and is
// zero now is removed. It takes fields over from other owners, but only of the
// object as it was read: whatever anybody has written since then makes it fail
// with a conflict. So does another object of the same name; a UID would not help,
// since the API server heeds none in writes of a status.
func Status(ctx context.Context, c client.Client, owner client.FieldOwner, obj client.Object, part any) (version string, err error) {
	kind, err := c.GroupVersionKindFor(obj)
	if err != nil {
		return "", fmt.Errorf("apply status of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(part)
	if err != nil {
		return "", fmt.Errorf("apply status of %s %s: %w", kind.Kind, client.ObjectKeyFromObject(obj), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(obj.GetNamespace())
	u.SetName(obj.GetName())
	u.SetResourceVersion(obj.GetResourceVersion())
	if err := c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), owner, client.ForceOwnership); err != nil {
		return "", fmt.Errorf("apply status of %s %s: %w", kind.Kind, client.ObjectKeyFromObject(obj), err)
	}
	return u.GetResourceVersion(), nil
}

// conflictPause lets the cache see what another writer wrote.
const conflictPause = 20 * time.Millisecond

// Outcome is what a controller makes of the error of a write: a conflict is
// looked at again, and an object that was deleted is no error.
func Outcome(err error) (ctrl.Result, error) {
	switch {
	case errors.IsConflict(err):
		// Somebody knows more than our cache.
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	case errors.IsNotFound(err):
		return ctrl.Result{}, nil // it was deleted
	}
	return ctrl.Result{}, err
}

// Older reports whether obj is older than a version that Status has returned: then
// a watch will bring that one soon. No object is older than "", no version.
func Older(obj client.Object, version string) bool {
	order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), version)
	return version != "" && err == nil && order < 0
}
