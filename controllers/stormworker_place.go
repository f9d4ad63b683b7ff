package controllers

import (
	"cmp"
	"fmt"
	"strings"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// candidate is a node as the placement of one worker sees it.
type candidate struct {
	name string
	// exists: there is a Node object, which says facts.
	exists bool
	facts  nodeFacts
	// live: its agent renews its Lease.
	live bool
	// portHolder is the worker that has the wanted port, "" for none.
	portHolder string
	// workers and ofTopology count those on the node, in all and of the same
	// topology.
	workers, ofTopology int
	// used is what pods and workers there may use.
	used room
}

// placeRefusal tells why a worker cannot be placed; its zero value is none.
type placeRefusal struct {
	reason, message string
	// scarce: it fits when something else makes room.
	scarce bool
}

// fits tells whether a worker that names the node c may go there. Like a pod
// with a nodeName it passes over cordons and taints, and waits there for an
// agent; who names a node, as Nimbus does, has counted its room.
func fits(c candidate, w *api.StormWorker) placeRefusal {
	switch {
	case !c.exists:
		return placeRefusal{reason: api.ReasonNodeNotFound, message: fmt.Sprintf(
			"there is no node %s; add it, or make the worker anew with another spec.nodeName", c.name)}
	case c.portHolder != "":
		return placeRefusal{reason: api.ReasonPortInUse, message: fmt.Sprintf(
			"port %d of node %s belongs to StormWorker %s; this worker is bound when that one is gone", w.Spec.Port, c.name, c.portHolder)}
	}
	return placeRefusal{}
}

// choose picks the node for a worker that names none: of those that can take
// it, the one with the fewest workers of its topology, then the fewest workers,
// then the first by name.
func choose(candidates []candidate, w *api.StormWorker) (node string, refusal placeRefusal) {
	var best *candidate
	met, wants := obstacles{}, roomOf(w)
	for i := range candidates {
		c := &candidates[i]
		switch o := obstacleOf(c, &w.Spec, wants); {
		case o != none:
			met[o] = true
		case best == nil || better(c, best) < 0:
			best = c
		}
	}
	if best != nil {
		return best.name, placeRefusal{}
	}
	return "", placeRefusal{reason: api.ReasonNoNodeFits, message: met.message(w), scarce: met[noCPU] || met[noMemory]}
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
	notSelected
	cordoned
	tainted
	portTaken
	noCPU
	noMemory
)

func obstacleOf(c *candidate, spec *api.StormWorkerSpec, wants room) obstacle {
	switch {
	case !c.exists:
		return noNode
	case !selects(spec.NodeSelector, c.facts.labels):
		return notSelected
	case !c.live:
		return noAgent
	case !c.facts.ready:
		return notReady
	case c.facts.cordoned:
		return cordoned
	case !tolerates(spec.Tolerations, c.facts.taints):
		return tainted
	case c.portHolder != "":
		return portTaken
	case !c.facts.allocatable.known():
		return none
	case c.used.cpu+wants.cpu > c.facts.allocatable.cpu && wants.cpu > 0:
		return noCPU
	case c.used.memory+wants.memory > c.facts.allocatable.memory && wants.memory > 0:
		return noMemory
	default:
		return none
	}
}

// obstacles are what keeps a worker off the nodes. They are not counted: a
// count would change, and be written, with every node for every worker.
type obstacles map[obstacle]bool

func (o obstacles) message(w *api.StormWorker) string {
	var why []string
	for _, reason := range []struct {
		is   obstacle
		text string
	}{
		{notSelected, "other labels than spec.nodeSelector"},
		{noAgent, fmt.Sprintf("no live node-agent (see the Leases in namespace %s)", api.SystemNamespace)},
		{notReady, "a kubelet that is not ready"},
		{cordoned, "a cordon"},
		{tainted, "a taint that spec.tolerations do not match"},
		{portTaken, fmt.Sprintf("port %d in use", w.Spec.Port)},
		{noCPU, fmt.Sprintf("less CPU to spare than %s", w.Spec.Resources.Limits.CPU)},
		{noMemory, fmt.Sprintf("less memory to spare than %s", w.Spec.Resources.Limits.Memory)},
	} {
		if o[reason.is] {
			why = append(why, reason.text)
		}
	}
	if why == nil {
		return "the cluster has no nodes; add one that runs the node-agent"
	}
	return fmt.Sprintf("no node can take the worker: each has %s; it is bound when one can", strings.Join(why, ", or "))
}
