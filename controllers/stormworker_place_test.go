package controllers

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func free(name string, workers, ofTopology int) candidate {
	return candidate{name: name, exists: true, facts: nodeFacts{ready: true}, live: true, workers: workers, ofTopology: ofTopology}
}

func TestChoose(t *testing.T) {
	with := func(name string, change func(*candidate)) candidate {
		c := free(name, 0, 0)
		change(&c)
		return c
	}
	cordoned := with("a", func(c *candidate) { c.facts.cordoned = true })
	silent := with("b", func(c *candidate) { c.live = false })
	taken := with("c", func(c *candidate) { c.portHolder = types.NamespacedName{Namespace: "default", Name: "other"} })
	ghost := with("d", func(c *candidate) { c.exists = false })
	sick := with("e", func(c *candidate) { c.facts.ready = false })
	bare := with("i", func(c *candidate) { c.lacksRuntime = true })
	tainted := with("f", func(c *candidate) {
		c.facts.taints = []corev1.Taint{{Key: "dedicated", Value: "storm", Effect: corev1.TaintEffectNoSchedule}}
	})
	labelled := with("g", func(c *candidate) { c.facts.labels = map[string]string{"disk": "ssd"} })
	full := with("h", func(c *candidate) {
		c.facts.allocatable, c.requested = resources{cpu: 2000, memory: 4 << 30}, resources{cpu: 1500, memory: 1 << 30}
	})
	plain := newWorker("w", "", 6700)
	wantsSSD, tolerant := newWorker("w", "", 6700), newWorker("w", "", 6700)
	wantsSSD.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	tolerant.Spec.Tolerations = []api.Toleration{{Key: "dedicated", Operator: api.TolerationEqual, Value: "storm"}}
	half, one := limited(newWorker("w", "", 6700), "500m", "3Gi"), limited(newWorker("w", "", 6700), "501m", "1Mi")
	tests := []struct {
		name       string
		worker     *api.StormWorker
		candidates []candidate
		node       string
		say        []string
	}{
		{"fewest of the topology", plain, []candidate{free("n1", 1, 1), free("n2", 9, 0)}, "n2", nil},
		{"then fewest workers", plain, []candidate{free("n1", 3, 1), free("n2", 2, 1)}, "n2", nil},
		{"then the first by name", plain, []candidate{free("n2", 1, 1), free("n1", 1, 1)}, "n1", nil},
		{"none that cannot take it", plain, []candidate{cordoned, silent, taken, ghost, sick, bare, tainted, free("z", 99, 99)}, "z", nil},
		{"no nodes", plain, nil, "", []string{"no nodes"}},
		{"no node has the runtime", plain, []candidate{bare}, "", []string{"all nodes do not have runtime Docker (kubectl get stormnodes -o wide);"}},
		{"only a Lease", plain, []candidate{ghost}, "", []string{"no nodes"}},
		{"a label that is asked for", wantsSSD, []candidate{free("n1", 0, 0), labelled}, "g", nil},
		{"a taint that is tolerated", tolerant, []candidate{tainted}, "f", nil},
		{"just enough resources", half, []candidate{full}, "h", nil},
		{"no limits ask for nothing", plain, []candidate{full}, "h", nil},
		{"a node that reports no resources", half, []candidate{free("n1", 0, 0)}, "n1", nil},
		{"too little CPU", one, []candidate{full}, "", []string{"all nodes have less free CPU than 501m;"}},
		{"all blocked", wantsSSD, []candidate{free("n1", 0, 0)}, "", []string{"no node matches the labels of spec.nodeSelector;"}},
		{"each in another way", plain, []candidate{cordoned, silent, taken, taken, sick, tainted}, "", []string{
			"some nodes have no live node-agent", ", some have a kubelet that is not ready, some are cordoned, some have a taint that spec.tolerations do not match, some have port 6700 in use;",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node, failure := choose(tt.candidates, tt.worker, api.RuntimeDocker)
			if node != tt.node {
				t.Errorf("node %q, want %q", node, tt.node)
			}
			if (failure.reason != "") != (tt.node == "") {
				t.Errorf("failure %+v", failure)
			}
			for _, s := range tt.say {
				if failure.reason != api.ReasonNoNodeFits || !strings.Contains(failure.message, s) {
					t.Errorf("failure %+v does not say %q", failure, s)
				}
			}
		})
	}
}

func TestFits(t *testing.T) {
	w := newWorker("w", "", 6700)
	cordoned := free("n1", 0, 0)
	cordoned.facts.cordoned, cordoned.live = true, false
	taken := free("n1", 1, 1)
	taken.portHolder = types.NamespacedName{Namespace: "default", Name: "other"}
	stranger := free("n1", 1, 1)
	stranger.portHolder = types.NamespacedName{Namespace: "team-b", Name: "secret"}
	bare := taken
	bare.lacksRuntime = true
	tests := []struct {
		name   string
		node   candidate
		reason string
		say    string
	}{
		{"free", free("n1", 0, 0), "", ""},
		{"cordoned and silent, but named", cordoned, "", ""},
		{"gone", candidate{name: "n1"}, api.ReasonNodeNotFound, "no node n1"},
		{"without the runtime", bare, api.ReasonRuntimeMissing, "node n1 does not have runtime Docker, as its node-agent reports; the worker is bound when it has: set stormcell.docker.enable"},
		{"port in use", taken, api.ReasonPortInUse, "used by StormWorker other;"},
		{"port in use by a stranger", stranger, api.ReasonPortInUse, "used by a StormWorker of another namespace;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := fits(tt.node, w, api.RuntimeDocker)
			if got.reason != tt.reason || !strings.Contains(got.message, tt.say) {
				t.Errorf("%+v, want %s saying %q", got, tt.reason, tt.say)
			}
		})
	}
}
