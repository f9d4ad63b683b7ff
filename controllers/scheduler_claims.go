package controllers

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// claims are the names that belong to the workers that have a node. A worker's id
// names its directories, so no other worker has the same one. A topology's id names
// what its workers share on a node, so it belongs to one namespace.
type claims struct {
	ids map[string][]types.UID
	// topologies count the workers by topology and namespace. Managers that made no
	// such claims may have bound workers of two namespaces.
	topologies map[string]map[string]int
}

func newClaims() claims {
	return claims{ids: map[string][]types.UID{}, topologies: map[string]map[string]int{}}
}

func (c claims) add(a assignment) {
	c.ids[a.id] = append(c.ids[a.id], a.uid)
	if c.topologies[a.topology] == nil {
		c.topologies[a.topology] = map[string]int{}
	}
	c.topologies[a.topology][a.worker.Namespace]++
}

func (c claims) remove(a assignment) {
	c.ids[a.id] = slices.DeleteFunc(c.ids[a.id], func(uid types.UID) bool { return uid == a.uid })
	if len(c.ids[a.id]) == 0 {
		delete(c.ids, a.id)
	}
	byNamespace := c.topologies[a.topology]
	if byNamespace[a.worker.Namespace]--; byNamespace[a.worker.Namespace] == 0 {
		delete(byNamespace, a.worker.Namespace)
	}
	if len(byNamespace) == 0 {
		delete(c.topologies, a.topology)
	}
}

// free returns those of two names that nobody has.
func (c claims) free(id, topology string) (names []string) {
	if len(c.ids[id]) == 0 {
		names = append(names, id)
	}
	if len(c.topologies[topology]) == 0 {
		names = append(names, topology)
	}
	return names
}

// check returns why w, which has no node, cannot have its names.
func (c claims) check(w *api.StormWorker, assigned map[types.UID]assignment) placementFailure {
	for _, uid := range c.ids[w.ID()] {
		if uid != w.UID {
			return placementFailure{reason: api.ReasonWorkerIDInUse, message: fmt.Sprintf(
				"worker ID %s is used by %s; this worker is bound when that one is removed, or create it again with another spec.workerID",
				w.ID(), nameFor(w, assigned[uid].worker))}
		}
	}
	for namespace := range c.topologies[w.Spec.TopologyID] {
		if namespace != w.Namespace {
			return placementFailure{reason: api.ReasonTopologyInUse, message: fmt.Sprintf(
				"topology ID %s is used in another namespace, and belongs to one; this worker is bound when no worker has it there, or create it again with another spec.topologyID",
				w.Spec.TopologyID)}
		}
	}
	return placementFailure{}
}

// nameFor is another worker as a message of w may call it: who reads that may know
// nothing of other namespaces.
func nameFor(w *api.StormWorker, other types.NamespacedName) string {
	if other.Namespace != w.Namespace {
		return "a StormWorker of another namespace"
	}
	return "StormWorker " + other.Name
}
