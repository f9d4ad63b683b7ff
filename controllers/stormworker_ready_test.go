package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// workerSaying is a worker on node n1 whose agent has spoken, if ready is not
// "", with that reason of Ready and another of Mounted.
func workerSaying(ready, mounted string) *api.StormWorker {
	w := newWorker("w", "", 6700)
	w.Status.NodeName = "n1"
	if ready != "" {
		for t, reason := range map[string]string{api.WorkerLocalized: "Localized", api.WorkerMounted: mounted, api.WorkerReady: ready} {
			w.Status.Conditions = append(w.Status.Conditions, metav1.Condition{Type: t, Reason: reason})
		}
	}
	return w
}

func nodeWith(exists bool, agent agentState) nodeView {
	return nodeView{name: "n1", exists: exists, agent: agent, leaseDuration: time.Minute}
}

func TestReadyWorker(t *testing.T) {
	yes := metav1.Condition{Status: metav1.ConditionTrue, Reason: api.ReasonAdmitted}
	no := metav1.Condition{Status: metav1.ConditionFalse, Reason: api.ReasonImageNotAllowed}
	bound := metav1.Condition{Status: metav1.ConditionTrue, Reason: api.ReasonScheduled}
	unbound := metav1.Condition{Status: metav1.ConditionFalse, Reason: api.ReasonNoNodeFits}
	const off, unknown = metav1.ConditionFalse, metav1.ConditionUnknown
	tests := []struct {
		name                string
		worker              *api.StormWorker
		admitted, scheduled metav1.Condition
		node                nodeView
		status              metav1.ConditionStatus
		reason              string // "" if Ready is the agent's
	}{
		{"not admitted", newWorker("w", "", 1), no, unbound, nodeView{}, off, api.ReasonImageNotAllowed},
		{"not placed", newWorker("w", "", 1), yes, unbound, nodeView{}, off, api.ReasonNoNodeFits},
		{"bound, agent silent so far", workerSaying("", ""), yes, bound, nodeWith(true, agentLive), off, api.ReasonScheduled},
		{"bound, never an agent", workerSaying("", ""), yes, bound, nodeWith(true, agentNone), off, api.ReasonScheduled},
		{"bound, agent lost before a word", workerSaying("", ""), yes, bound, nodeWith(true, agentSilent), unknown, api.ReasonNodeLost},
		{"bound, node gone before a word", workerSaying("", ""), yes, bound, nodeWith(false, agentLive), unknown, api.ReasonNodeLost},
		{"runs", workerSaying("Running", "Mounted"), yes, bound, nodeWith(true, agentLive), "", ""},
		{"runs, its agent's Lease is old", workerSaying("Running", "Mounted"), yes, bound, nodeWith(true, agentUnproven), "", ""},
		{"runs, port word of the agent", workerSaying(api.ReasonPortInUse, "Mounted"), yes, bound, nodeWith(true, agentLive), "", ""},
		{"silent", workerSaying("Running", "Mounted"), yes, bound, nodeWith(true, agentSilent), unknown, api.ReasonNodeLost},
		{"Lease gone", workerSaying("Running", "Mounted"), yes, bound, nodeWith(true, agentNone), unknown, api.ReasonNodeLost},
		{"node gone", workerSaying("Running", "Mounted"), yes, bound, nodeWith(false, agentLive), unknown, api.ReasonNodeLost},
		{"back, no word yet", workerSaying(api.ReasonNodeLost, "Mounted"), yes, bound, nodeWith(true, agentLive), unknown, api.ReasonNodeLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := readyWorker(tt.worker, tt.admitted, tt.scheduled, tt.node)
			switch {
			case tt.reason == "" && got != nil:
				t.Errorf("takes the agent's word: %+v", got)
			case tt.reason != "" && (got == nil || got.Status != tt.status || got.Reason != tt.reason):
				t.Errorf("%+v, want %s %s", got, tt.status, tt.reason)
			}
		})
	}
}

func TestReleaseWorker(t *testing.T) {
	unbound := newWorker("w", "", 6700)
	tests := []struct {
		name   string
		worker *api.StormWorker
		node   nodeView
		want   bool
	}{
		{"never bound", unbound, nodeView{}, true},
		{"removed by its agent", workerSaying(api.ReasonRemoved, api.ReasonRemoved), nodeWith(true, agentLive), true},
		{"removed, then lost", workerSaying(api.ReasonNodeLost, api.ReasonRemoved), nodeWith(true, agentSilent), true},
		{"runs", workerSaying("Running", "Mounted"), nodeWith(true, agentLive), false},
		{"stops", workerSaying(api.ReasonStopping, "Mounted"), nodeWith(true, agentLive), false},
		{"lost", workerSaying(api.ReasonNodeLost, "Mounted"), nodeWith(true, agentSilent), false},
		{"node gone", workerSaying("Running", "Mounted"), nodeWith(false, agentSilent), true},
		{"agent lives and has not spoken", workerSaying("", ""), nodeWith(true, agentLive), false},
		{"agent silent and has not spoken", workerSaying("", ""), nodeWith(true, agentSilent), false},
		{"never an agent", workerSaying("", ""), nodeWith(true, agentNone), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := finalizable(tt.worker, tt.node); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
