package agent

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/store"
)

// TestStormNodeStatus: what the object says of an image stands while the image
// is only looked at.
func TestStormNodeStatus(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	d := digest.FromString("m")
	tests := []struct {
		name    string
		said    api.PrefetchState // "" for nothing
		phase   prefetch.Phase
		since   time.Duration // the phase began so long ago
		want    api.PrefetchState
		passing bool
	}{
		{"new", "", prefetch.Pending, time.Hour, api.PrefetchPending, false},
		{"a restart does not unsay Ready", api.PrefetchReady, prefetch.Pending, time.Hour, api.PrefetchReady, false},
		{"nor Failed", api.PrefetchFailed, prefetch.Pending, time.Hour, api.PrefetchFailed, false},
		{"a fetch that has just begun", "", prefetch.Fetching, 0, api.PrefetchPending, true},
		{"a fetch", "", prefetch.Fetching, passingDelay, api.PrefetchFetching, false},
		{"a look at what was ready", api.PrefetchReady, prefetch.Fetching, passingDelay, api.PrefetchReady, true},
		{"a look that has become a fetch", api.PrefetchReady, prefetch.Fetching, readyDelay, api.PrefetchFetching, false},
		{"another try", api.PrefetchFailed, prefetch.Fetching, passingDelay, api.PrefetchFetching, false},
		{"ready", api.PrefetchFetching, prefetch.Ready, 0, api.PrefetchReady, false},
		{"failed", api.PrefetchReady, prefetch.Failed, 0, api.PrefetchFailed, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Generation: 7}}
			if tt.said != "" {
				n.Status.Images = []api.StormNodeImageStatus{{Tag: "a", ManifestDigest: d.String(), State: tt.said}}
			}
			s := prefetch.State{Tag: "a", ManifestDigest: d, Phase: tt.phase, Since: now.Add(-tt.since), Err: store.ErrUnavailable, RetryAt: now}
			got, passing := stormNodeStatus(n, []prefetch.State{s}, now)
			if got.Images[0].State != tt.want || passing != tt.passing {
				t.Errorf("%+v, passing %v, want %s, %v", got.Images[0], passing, tt.want, tt.passing)
			}
			ready, failed := int32(0), int32(0)
			switch tt.want {
			case api.PrefetchReady:
				ready = 1
			case api.PrefetchFailed:
				failed = 1
			case api.PrefetchPending, api.PrefetchFetching:
			}
			if *got.ImagesWanted != 1 || *got.ImagesReady != ready || *got.ImagesFailed != failed || got.ObservedGeneration != 7 {
				t.Errorf("counted %d wanted, %d ready, %d failed, generation %d", *got.ImagesWanted, *got.ImagesReady, *got.ImagesFailed, got.ObservedGeneration)
			}
			if tt.phase == prefetch.Failed && got.Images[0].Reason != api.ReasonStoreUnavailable {
				t.Errorf("reason %q", got.Images[0].Reason)
			}
		})
	}
}

// TestListening: a port that is taken is told of, and since when.
func TestListening(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	step := func(taken string, want metav1.ConditionStatus, reason, message string, since time.Time) {
		t.Helper()
		n.Status.Conditions = listening(n, taken, at)
		c := n.Status.Conditions[0]
		if len(n.Status.Conditions) != 1 || c.Status != want || c.Reason != reason || c.Message != message || !c.LastTransitionTime.Equal(new(metav1.NewTime(since))) {
			t.Errorf("%+v, want %s %s since %s", n.Status.Conditions, want, reason, since)
		}
	}
	first := at
	step("port 1 is taken by w", metav1.ConditionFalse, api.ReasonPortTaken, "port 1 is taken by w", first)
	at = at.Add(time.Minute)
	step("port 1 is taken by v", metav1.ConditionFalse, api.ReasonPortTaken, "port 1 is taken by v", first)
	step("", metav1.ConditionTrue, api.ReasonListening, "the agent listens on its ports", at)
}
