package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// applyStatus writes the manager's part of an object's status, if nobody has
// written to the object since it was read; else it fails with a conflict.
func applyStatus(ctx context.Context, c client.Client, obj client.Object, part any) error {
	_, err := apply.Status(ctx, c, client.FieldOwner(api.ManagerFieldOwner), obj, part)
	return err
}

// conditionEvent is the event of a condition that has changed.
type conditionEvent struct {
	eventType, reason, message string
}

// newEvent returns the event of a condition, if its reason has changed.
func newEvent(before []metav1.Condition, c metav1.Condition) (conditionEvent, bool) {
	if condition.Reason(before, c.Type) == c.Reason {
		return conditionEvent{}, false
	}
	return conditionEvent{eventType: eventType(c), reason: c.Reason, message: c.Message}, true
}

// eventType returns Normal for a condition that is as desired or only takes time.
func eventType(c metav1.Condition) string {
	waits := c.Reason == api.ReasonImagePending || c.Reason == api.ReasonPrefetching
	runsOn := c.Reason == api.ReasonImageNotAllowed
	if waits || c.Status == metav1.ConditionTrue && !runsOn {
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}
