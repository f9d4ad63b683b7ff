package controllers

import (
	"strings"
	"testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func free(name string, workers, ofTopology int) candidate {
	return candidate{name: name, exists: true, schedulable: true, live: true, workers: workers, ofTopology: ofTopology}
}

func TestChoose(t *testing.T) {
	cordoned, silent, taken, ghost := free("a", 0, 0), free("b", 0, 0), free("c", 0, 0), free("d", 0, 0)
	cordoned.schedulable = false
	silent.live = false
	taken.portHolder = "default/other"
	ghost.exists = false
	tests := []struct {
		name       string
		candidates []candidate
		node       string
		say        []string
	}{
		{"fewest of the topology", []candidate{free("n1", 1, 1), free("n2", 9, 0)}, "n2", nil},
		{"then fewest workers", []candidate{free("n1", 3, 1), free("n2", 2, 1)}, "n2", nil},
		{"then the first by name", []candidate{free("n2", 1, 1), free("n1", 1, 1)}, "n1", nil},
		{"none that cannot take it", []candidate{cordoned, silent, taken, ghost, free("z", 99, 99)}, "z", nil},
		{"no nodes", nil, "", []string{"no nodes"}},
		{"only a Lease", []candidate{ghost}, "", []string{"no nodes"}},
		{"all blocked", []candidate{cordoned, silent, taken, taken}, "", []string{
			"no live node-agent", "or a cordon or a taint", "or port 6700 in use",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node, refusal := choose(tt.candidates, 6700)
			if node != tt.node {
				t.Errorf("node %q, want %q", node, tt.node)
			}
			if (refusal.reason != "") != (tt.node == "") {
				t.Errorf("refusal %+v", refusal)
			}
			for _, s := range tt.say {
				if refusal.reason != api.ReasonNoNodeFits || !strings.Contains(refusal.message, s) {
					t.Errorf("refusal %+v does not say %q", refusal, s)
				}
			}
		})
	}
}

func TestFits(t *testing.T) {
	w := newWorker("w", "", 6700)
	cordoned := free("n1", 0, 0)
	cordoned.schedulable, cordoned.live = false, false
	taken := free("n1", 1, 1)
	taken.portHolder = "default/other"
	tests := []struct {
		name   string
		node   candidate
		reason string
		say    string
	}{
		{"free", free("n1", 0, 0), "", ""},
		{"cordoned and silent, but named", cordoned, "", ""},
		{"gone", candidate{name: "n1"}, api.ReasonNodeNotFound, "no node n1"},
		{"port in use", taken, api.ReasonPortInUse, "default/other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := fits(tt.node, w)
			if got.reason != tt.reason || !strings.Contains(got.message, tt.say) {
				t.Errorf("%+v, want %s saying %q", got, tt.reason, tt.say)
			}
		})
	}
}
