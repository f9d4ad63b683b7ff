package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/profile"
)

// TestNextOfProfile: what is done about a profile, by what it says and by what
// this process knows of it.
func TestNextOfProfile(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := began.Add(10 * time.Second)
	ended := func(verb profile.Verb, err error) *profileEnd {
		return &profileEnd{
			verb: string(verb), begunAt: began, at: now, err: err,
			result: profile.Result{Files: []string{"/a/file"}, Output: "first\nlast"},
		}
	}
	tests := []struct {
		name     string
		action   api.ProfileAction
		duration time.Duration
		says     string
		run      *profileEnd

		reason, words, verb string
		forget, finished    bool
		after               time.Duration
	}{
		{name: "new", action: api.ProfileHeapDump, says: api.ReasonPending, reason: api.ReasonProfiling, words: "HeapDump of StormWorker w has begun", verb: "jmap"},
		{name: "new, a restart", action: api.ProfileRestart, says: api.ReasonPending, reason: api.ReasonProfiling, words: "Restart", verb: "kill"},
		{name: "under way", action: api.ProfileJStack, says: api.ReasonProfiling, run: &profileEnd{}},
		{name: "under way, and not seen so yet", action: api.ProfileJStack, says: api.ReasonPending, run: &profileEnd{}},
		{name: "an earlier agent's", action: api.ProfileJStack, says: api.ReasonProfiling, reason: api.ReasonFailed, words: "restarted meanwhile", finished: true},
		{name: "succeeded", action: api.ProfileJStack, says: api.ReasonProfiling, run: ended(profile.JStack, nil), reason: api.ReasonSucceeded, words: "wrote /a/file on node n", finished: true},
		{name: "ended well, seen late", action: api.ProfileJStack, says: api.ReasonPending, run: ended(profile.JStack, nil), reason: api.ReasonSucceeded, words: "wrote", finished: true},
		{name: "failed", action: api.ProfileJStack, says: api.ReasonProfiling, run: ended(profile.JStack, errors.New("bad")), reason: api.ReasonFailed, words: "bad; its last output: last", finished: true},
		{name: "said to have succeeded", action: api.ProfileJStack, says: api.ReasonSucceeded, run: ended(profile.JStack, nil), forget: true},
		{name: "said to have failed", action: api.ProfileJStack, says: api.ReasonFailed, forget: true},

		{name: "a recording has begun", action: api.ProfileFlightRecordStart, duration: time.Minute, says: api.ReasonProfiling, run: ended(profile.Start, nil), reason: api.ReasonRecording, words: "until 2026-01-02T03:05:05Z"},
		{name: "a short one has begun late", action: api.ProfileFlightRecordStart, duration: time.Second, says: api.ReasonProfiling, run: ended(profile.Start, nil), reason: api.ReasonRecording, words: "until"},
		{name: "it has not", action: api.ProfileFlightRecordStart, duration: time.Minute, says: api.ReasonProfiling, run: ended(profile.Start, errors.New("bad")), reason: api.ReasonFailed, words: "bad", finished: true},
		{name: "records", action: api.ProfileFlightRecordStart, duration: time.Minute, says: api.ReasonRecording, run: ended(profile.Start, nil), forget: true, after: 50 * time.Second},
		{name: "records since an earlier agent", action: api.ProfileFlightRecordStart, duration: time.Minute, says: api.ReasonRecording, forget: true, after: 50 * time.Second},
		{name: "its time is over", action: api.ProfileFlightRecordStart, duration: 10 * time.Second, says: api.ReasonRecording, forget: true, verb: "stop"},
		{name: "its time is over at once", action: api.ProfileFlightRecordStart, duration: time.Second, says: api.ReasonRecording, run: ended(profile.Start, nil), forget: true, verb: "stop"},
		{name: "is being stopped", action: api.ProfileFlightRecordStart, duration: time.Second, says: api.ReasonRecording, run: &profileEnd{}},
		{name: "is stopped", action: api.ProfileFlightRecordStart, duration: time.Second, says: api.ReasonRecording, run: ended(profile.Stop, nil), reason: api.ReasonSucceeded, words: "wrote", finished: true},
		{name: "without an end", action: api.ProfileFlightRecordStart, says: api.ReasonProfiling, run: &profileEnd{verb: "start", at: now}, reason: api.ReasonSucceeded, words: "until a profile with action FlightRecordStop", finished: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &api.StormProfile{Spec: api.StormProfileSpec{WorkerName: "w", Action: tt.action}}
			o.Status.NodeName = "n"
			if tt.says != api.ReasonPending {
				o.Status.StartedAt = &metav1.Time{Time: began}
			}
			if tt.duration > 0 {
				o.Spec.Duration = &metav1.Duration{Duration: tt.duration}
			}
			o.Status.Conditions = []metav1.Condition{{Type: api.ProfileComplete, Reason: tt.says}}
			next := nextOfProfile(o, tt.run, now)
			if next.verb != tt.verb || next.forget != tt.forget || next.after != tt.after {
				t.Errorf("verb %q, forget %v, after %v", next.verb, next.forget, next.after)
			}
			if (next.status != nil) != (tt.reason != "") {
				t.Fatalf("status %+v", next.status)
			}
			if next.status == nil {
				return
			}
			c := next.status.Conditions[0]
			if c.Reason != tt.reason || !strings.Contains(c.Message, tt.words) || (c.Status == metav1.ConditionTrue) != tt.finished {
				t.Errorf("condition %+v", c)
			}
			if next.status.StartedAt == nil || (next.status.FinishedAt != nil) != tt.finished || next.status.NodeName != "" {
				t.Errorf("status %+v", next.status)
			}
		})
	}
}
