package controllers

import (
	"testing"
	"time"
)

func TestHeartbeat(t *testing.T) {
	type step struct {
		after   time.Duration // since the step before
		renewed time.Duration // the Lease's time since noon; <0 for no news
		want    agentState
	}
	const none = -1
	tests := []struct {
		name  string
		steps []step
	}{
		{"lives while it renews", []step{{0, 0, agentLive}, {50 * time.Second, 50 * time.Second, agentLive}, {50 * time.Second, 100 * time.Second, agentLive}}},
		{"silent after its time", []step{{0, 0, agentLive}, {59 * time.Second, none, agentLive}, {time.Second, none, agentSilent}}},
		{"back from silence", []step{{0, 0, agentLive}, {time.Hour, none, agentSilent}, {0, time.Hour, agentLive}}},
		{"the same Lease seen twice is no sign of life", []step{{0, 0, agentLive}, {40 * time.Second, 0, agentLive}, {20 * time.Second, 0, agentSilent}}},
		{"an old Lease proves nothing, and is given its time", []step{{2 * time.Hour, 0, agentUnproven}, {59 * time.Second, none, agentUnproven}, {time.Second, none, agentSilent}}},
		{"a clock that is behind, and renews", []step{{2 * time.Hour, 0, agentUnproven}, {10 * time.Second, 10 * time.Second, agentLive}}},
		{"a clock that is ahead, and stops", []step{{0, 2 * time.Hour, agentUnproven}, {time.Minute, none, agentSilent}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, c := testCache()
			now := noon
			for i, s := range tt.steps {
				now = now.Add(s.after)
				c.SetTime(now)
				if s.renewed >= 0 {
					b.recordHeartbeat("n1", noon.Add(s.renewed))
				}
				if got := b.view("n1").agent; got != s.want {
					t.Errorf("step %d: state %d, want %d", i, got, s.want)
				}
			}
		})
	}
	b, _ := testCache("n1")
	b.removeHeartbeat("n1")
	if got := b.view("n1").agent; got != agentNone {
		t.Errorf("without a Lease: state %d, want %d", got, agentNone)
	}
}
