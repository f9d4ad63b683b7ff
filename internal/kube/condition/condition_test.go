package condition_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/stormcell/stormcell/internal/kube/condition"
)

func TestSet(t *testing.T) {
	first := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	var conditions []metav1.Condition
	set := func(status metav1.ConditionStatus, reason, message string, generation int64, after time.Duration) metav1.Condition {
		c := metav1.Condition{Type: "Ready", Status: status, Reason: reason, Message: message}
		condition.Set(&conditions, c, generation, first.Add(after))
		if len(conditions) != 1 {
			t.Fatalf("%d conditions, want 1", len(conditions))
		}
		return conditions[0]
	}
	whole := first.Truncate(time.Second)
	c := set(metav1.ConditionFalse, "Pending", "waits", 1, 0)
	if !c.LastTransitionTime.Time.Equal(whole) || c.ObservedGeneration != 1 {
		t.Errorf("at first: %+v", c)
	}
	c = set(metav1.ConditionFalse, "Failed", strings.Repeat("ä", condition.MaxMessage), 2, time.Minute)
	if !c.LastTransitionTime.Time.Equal(whole) || c.ObservedGeneration != 2 || c.Reason != "Failed" {
		t.Errorf("another reason, the same status: %+v", c)
	}
	if len(c.Message) > condition.MaxMessage || !strings.HasSuffix(c.Message, "ä…") {
		t.Errorf("a long message: %d bytes", len(c.Message))
	}
	c = set(metav1.ConditionTrue, "Running", "runs", 2, time.Hour)
	if !c.LastTransitionTime.Time.Equal(whole.Add(time.Hour)) {
		t.Errorf("another status: %+v", c)
	}
}

func TestRead(t *testing.T) {
	conditions := []metav1.Condition{{Type: "A", Reason: "Good", Message: "all is well"}, {Type: "B"}, {Type: "C", Reason: "Bad"}}
	if r, m := condition.Reason(conditions, "A"), condition.Message(conditions, "A"); r != "Good" || m != "all is well" {
		t.Errorf("A: %q, %q", r, m)
	}
	if r, m := condition.Reason(conditions, "D"), condition.Message(conditions, "D"); r != "" || m != "" {
		t.Errorf("what is not there: %q, %q", r, m)
	}
	got := condition.Select(conditions, "C", "D", "A")
	if len(got) != 2 || got[0].Type != "C" || got[1].Type != "A" {
		t.Errorf("selected %+v, want C and A", got)
	}
	if got[0].Reason = "Other"; conditions[2].Reason != "Bad" {
		t.Error("what is selected is no copy")
	}
	if got := condition.Select(conditions, "D"); got != nil {
		t.Errorf("nothing there: %+v, want nil", got)
	}
}
