package controllers

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// candidate is a node as the placement of one worker sees it.
type candidate struct {
	name string
	// exists: there is a Node object, from which facts are read.
	exists bool
	facts  nodeFacts
	// live: the node's agent renews its Lease.
	live bool
	// lacksRuntime: the node's agent does not report the worker's runtime.
	lacksRuntime bool
	// portHolder is the worker that has the wanted port, if any.
	portHolder types.NamespacedName
	// workers and ofTopology count the node's workers, in all and of the same
	// topology.
	workers, ofTopology int
	// requested is what the node's pods and workers request.
	requested resources
}

// placementFailure is why a worker cannot be placed; its zero value is none.
type placementFailure struct {
	reason, message string
	// insufficient: a node fits as soon as it has more CPU or memory free.
	insufficient bool
}

// fits decides on a worker that names the node c. Like a pod with a nodeName, it
// ignores cordons and taints and waits for the agent. It ignores resources too:
// whoever names a node, as Nimbus does, has counted them. But where its runtime is
// missing it could only fail, and hold its port.
func fits(c candidate, w *api.StormWorker, runtime api.Runtime) placementFailure {
	switch {
	case !c.exists:
		return placementFailure{reason: api.ReasonNodeNotFound, message: fmt.Sprintf(
			"there is no node %s; add it, or create the worker again with another spec.nodeName", c.name)}
	case c.lacksRuntime:
		return placementFailure{reason: api.ReasonRuntimeMissing, message: fmt.Sprintf(
			"node %s does not have runtime %s, as its node-agent reports; the worker is bound when it has%s", c.name, runtime, runtimeCure(runtime))}
	case c.portHolder != types.NamespacedName{}:
		return placementFailure{reason: api.ReasonPortInUse, message: fmt.Sprintf(
			"port %d of node %s is used by %s; this worker is bound when that one is removed", w.Spec.Port, c.name, nameFor(w, c.portHolder))}
	}
	return placementFailure{}
}

// runtimeCure says what makes a node have a runtime.
func runtimeCure(runtime api.Runtime) string {
	if runtime != api.RuntimeDocker {
		return ": update its node-agent"
	}
	return ": set stormcell.docker.enable in its storm.yaml, restart its node-agent, and start Docker there"
}

// choose picks the node for a worker that names none. Of the nodes that fit it
// is the one with the fewest workers of the topology, then with the fewest
// workers, then the first by name.
func choose(candidates []candidate, w *api.StormWorker, runtime api.Runtime) (node string, failure placementFailure) {
	var best *candidate
	met, request := obstacles{}, workerRequest(w)
	for i := range candidates {
		c := &candidates[i]
		switch o := obstacleOf(c, &w.Spec, request); {
		case o != none:
			met[o] = true
		case best == nil || better(c, best) < 0:
			best = c
		}
	}
	if best != nil {
		return best.name, placementFailure{}
	}
	return "", placementFailure{reason: api.ReasonNoNodeFits, message: met.message(w, runtime), insufficient: met[noCPU] || met[noMemory]}
}

func better(a, b *candidate) int {
	return cmp.Or(cmp.Compare(a.ofTopology, b.ofTopology), cmp.Compare(a.workers, b.workers), strings.Compare(a.name, b.name))
}

// obstacle is the first thing that keeps a worker off a node.
type obstacle int

const (
	none obstacle = iota
	noNode
	noAgent
	notReady
	noRuntime
	notSelected
	cordoned
	tainted
	portTaken
	noCPU
	noMemory
)

func obstacleOf(c *candidate, spec *api.StormWorkerSpec, request resources) obstacle {
	switch {
	case !c.exists:
		return noNode
	case !selects(spec.NodeSelector, c.facts.labels):
		return notSelected
	case !c.live:
		return noAgent
	case !c.facts.ready:
		return notReady
	case c.lacksRuntime:
		return noRuntime
	case c.facts.cordoned:
		return cordoned
	case !tolerates(spec.Tolerations, c.facts.taints):
		return tainted
	case c.portHolder != types.NamespacedName{}:
		return portTaken
	case !c.facts.allocatable.known():
		return none
	case c.requested.cpu+request.cpu > c.facts.allocatable.cpu && request.cpu > 0:
		return noCPU
	case c.requested.memory+request.memory > c.facts.allocatable.memory && request.memory > 0:
		return noMemory
	default:
		return none
	}
}

// boundLater ends the message of a worker that waits for a node.
const boundLater = "the worker is bound when a node fits"

// obstacles are what keeps a worker off the nodes. They are not counted: with
// each node, a count would change and be written for every worker.
type obstacles map[obstacle]bool

// message says what keeps w off the nodes.
func (o obstacles) message(w *api.StormWorker, runtime api.Runtime) string {
	var nodes []string
	for _, reason := range []struct {
		is   obstacle
		text string
	}{
		{notSelected, "do not match the labels of spec.nodeSelector"},
		{noAgent, fmt.Sprintf("have no live node-agent (see the Leases in namespace %s)", api.SystemNamespace)},
		{notReady, "have a kubelet that is not ready"},
		{noRuntime, fmt.Sprintf("do not have runtime %s (kubectl get stormnodes -o wide)", runtime)},
		{cordoned, "are cordoned"},
		{tainted, "have a taint that spec.tolerations do not match"},
		{portTaken, fmt.Sprintf("have port %d in use", w.Spec.Port)},
		{noCPU, fmt.Sprintf("have less free CPU than %s", w.Spec.Resources.Limits.CPU)},
		{noMemory, fmt.Sprintf("have less free memory than %s", w.Spec.Resources.Limits.Memory)},
	} {
		if o[reason.is] {
			nodes = append(nodes, reason.text)
		}
	}
	switch {
	case len(nodes) == 0:
		return "the cluster has no nodes; add one that runs the node-agent"
	case len(nodes) == 1 && o[notSelected]:
		return "no node matches the labels of spec.nodeSelector; " + boundLater
	case len(nodes) == 1:
		return fmt.Sprintf("no node fits the worker: all nodes %s; %s", nodes[0], boundLater)
	default:
		return fmt.Sprintf("no node fits the worker: some nodes %s; %s", strings.Join(nodes, ", some "), boundLater)
	}
}
