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
	// exists: there is a Node object. schedulable: it takes new workers.
	exists, schedulable bool
	// live: its agent renews its Lease.
	live bool
	// portHolder is the worker that has the wanted port, "" for none.
	portHolder string
	// workers and ofTopology count those on the node, in all and of the same
	// topology.
	workers, ofTopology int
}

// placeRefusal tells why a worker cannot be placed; its zero value is none.
type placeRefusal struct{ reason, message string }

// fits tells whether a worker that names the node c may go there. Like a pod
// with a nodeName it passes over cordons, and waits there for an agent.
func fits(c candidate, w *api.StormWorker) placeRefusal {
	switch {
	case !c.exists:
		return placeRefusal{api.ReasonNodeNotFound, fmt.Sprintf(
			"there is no node %s; add it, or make the worker anew with another spec.nodeName", c.name)}
	case c.portHolder != "":
		return placeRefusal{api.ReasonPortInUse, fmt.Sprintf(
			"port %d of node %s belongs to StormWorker %s; this worker is bound when that one is gone", w.Spec.Port, c.name, c.portHolder)}
	}
	return placeRefusal{}
}

// choose picks the node for a worker that names none: of those that can take
// it, the one with the fewest workers of its topology, then the fewest workers,
// then the first by name.
func choose(candidates []candidate, port int32) (node string, refusal placeRefusal) {
	var best *candidate
	var obstacles obstacles
	for i := range candidates {
		c := &candidates[i]
		switch {
		case !c.exists:
		case !c.schedulable:
			obstacles.cordoned = true
		case !c.live:
			obstacles.silent = true
		case c.portHolder != "":
			obstacles.taken = true
		case best == nil || better(c, best) < 0:
			best = c
		}
	}
	if best != nil {
		return best.name, placeRefusal{}
	}
	return "", placeRefusal{api.ReasonNoNodeFits, obstacles.message(port)}
}

func better(a, b *candidate) int {
	return cmp.Or(cmp.Compare(a.ofTopology, b.ofTopology), cmp.Compare(a.workers, b.workers), strings.Compare(a.name, b.name))
}

// obstacles are what keeps a worker off the nodes. They are not counted: a
// count would change, and be written, with every node for every worker.
type obstacles struct{ silent, cordoned, taken bool }

func (o obstacles) message(port int32) string {
	var why []string
	if o.silent {
		why = append(why, fmt.Sprintf("no live node-agent (see the Leases in namespace %s)", api.SystemNamespace))
	}
	if o.cordoned {
		why = append(why, "a cordon or a taint")
	}
	if o.taken {
		why = append(why, fmt.Sprintf("port %d in use", port))
	}
	if why == nil {
		return "the cluster has no nodes; add one that runs the node-agent"
	}
	return fmt.Sprintf("no node can take the worker: each has %s; it is bound when one can", strings.Join(why, ", or "))
}
