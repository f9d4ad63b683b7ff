package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// conflictPause lets the cache see what another writer wrote.
const conflictPause = 20 * time.Millisecond

// applyStatus writes the whole of the manager's part of an object's status:
// what it owned before and is zero now is removed. It takes fields over from
// other owners, but only of the object as it was read: whatever anybody said
// since then makes it fail with a conflict.
func applyStatus(ctx context.Context, c client.Client, kind string, obj client.Object, status any) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("status of %s %s: %w", kind, client.ObjectKeyFromObject(obj), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind(kind))
	u.SetNamespace(obj.GetNamespace())
	u.SetName(obj.GetName())
	u.SetResourceVersion(obj.GetResourceVersion())
	err = c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(api.ManagerFieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply status of %s %s: %w", kind, client.ObjectKeyFromObject(obj), err)
	}
	return nil
}

// outcome is what a controller makes of the error of a write.
func outcome(err error) (ctrl.Result, error) {
	switch {
	case errors.IsConflict(err):
		// Somebody, most likely an agent, knows more than our cache.
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	case errors.IsNotFound(err):
		return ctrl.Result{}, nil // it was deleted
	}
	return ctrl.Result{}, err
}

// setCondition sets c among conditions; its transition time moves only if its
// status does.
func setCondition(conditions *[]metav1.Condition, c metav1.Condition, generation int64, now time.Time) {
	c.Message = clip(c.Message)
	c.ObservedGeneration = generation
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(conditions, c)
}

// maxMessage is the longest message, in bytes: the limit of an event's note.
// Errors may quote what a damaged store holds.
const maxMessage = 1024

func clip(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…"
}

// reasonOf is the reason of a condition, "" if it is not there.
func reasonOf(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

// messageOf is the message of a condition, "" if it is not there.
func messageOf(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// conditionEvent is the event of a condition that has changed.
type conditionEvent struct {
	eventType, reason, message string
}

// newEvent returns the event of a condition, if its reason has changed.
func newEvent(before []metav1.Condition, c metav1.Condition) (conditionEvent, bool) {
	if reasonOf(before, c.Type) == c.Reason {
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
