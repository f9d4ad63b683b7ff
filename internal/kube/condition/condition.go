// Package condition sets and reads the conditions of objects.
package condition

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stormcell/stormcell/internal/message"
)

// MaxMessage is the longest message, in bytes: the limit of an event's note,
// since a condition's message is an event's too.
const MaxMessage = 1024

// Set sets c among conditions, as of a generation of the object. Its transition
// time moves, to now, only if its status does. A message longer than MaxMessage
// is cut.
func Set(conditions *[]metav1.Condition, c metav1.Condition, generation int64, now time.Time) {
	c.Message = message.Truncate(c.Message, MaxMessage)
	c.ObservedGeneration = generation
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(conditions, c)
}

// Reason returns the reason of a condition, "" if it is not there.
func Reason(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

// Message returns the message of a condition, "" if it is not there.
func Message(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// Select copies the conditions of some types, in the order of the types. So a
// program that writes only those keeps the times of their transitions.
func Select(conditions []metav1.Condition, types ...string) []metav1.Condition {
	var selected []metav1.Condition
	for _, t := range types {
		if c := meta.FindStatusCondition(conditions, t); c != nil {
			selected = append(selected, *c)
		}
	}
	return selected
}
