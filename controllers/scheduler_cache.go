package controllers

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// schedulerCache is what the placement of workers is decided by: every node, the
// heartbeat of its agent, the workers assigned to it and what its pods request.
// The watches fill it, and so does place: a worker is assigned to its node as
// soon as the node is chosen, before any informer sees it. So two workers never
// get the same port of the same node.
type schedulerCache struct {
	leaseDuration time.Duration
	clock         clock.PassiveClock

	mu          sync.Mutex
	nodes       map[string]*nodeInfo
	assignments map[types.UID]assignment
	pods        map[types.UID]podUsage
	// unschedulable are the workers for which no node had enough resources.
	unschedulable map[types.UID]types.NamespacedName
	// claims are the names that the assigned workers have.
	claims claims
}

// nodeInfo is one node. The cache may know it by its Lease or its workers only.
type nodeInfo struct {
	exists    bool
	facts     nodeFacts
	heartbeat heartbeat
	// runtimes are those that the node's agent reports.
	runtimes []api.Runtime
	// ports has the workers by port, topologies their number by topology.
	ports      map[int32]assignment
	topologies map[string]int
	// requested is the sum of all pods and workers.
	requested resources
}

// podUsage is what a pod requests on its node.
type podUsage struct {
	node    string
	request resources
}

// assignment is a worker's place on a node.
type assignment struct {
	uid    types.UID
	worker types.NamespacedName
	// id is the worker's Storm id.
	id, node, topology string
	port               int32
	request            resources
}

func newSchedulerCache(leaseDuration time.Duration, c clock.PassiveClock) *schedulerCache {
	return &schedulerCache{
		leaseDuration: leaseDuration, clock: c, nodes: map[string]*nodeInfo{}, assignments: map[types.UID]assignment{},
		pods: map[types.UID]podUsage{}, unschedulable: map[types.UID]types.NamespacedName{}, claims: newClaims(),
	}
}

// node returns the node of a name. Call it with the lock held.
func (s *schedulerCache) node(name string) *nodeInfo {
	n, ok := s.nodes[name]
	if !ok {
		n = &nodeInfo{ports: map[int32]assignment{}, topologies: map[string]int{}}
		s.nodes[name] = n
	}
	return n
}

// setNode records a Node object. It reports whether placement may differ now.
func (s *schedulerCache) setNode(name string, facts nodeFacts) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(name)
	changed = !n.exists || !reflect.DeepEqual(n.facts, facts)
	n.exists, n.facts = true, facts
	return changed
}

// removeNode records that a Node object was deleted.
func (s *schedulerCache) removeNode(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(name)
	n.exists, n.facts = false, nodeFacts{}
	s.prune(name)
}

// prune drops a node about which the cache knows nothing. Call it with the lock
// held.
func (s *schedulerCache) prune(name string) {
	if n := s.node(name); !n.exists && !n.heartbeat.seen() && len(n.ports) == 0 && len(n.runtimes) == 0 && n.requested == (resources{}) {
		delete(s.nodes, name)
	}
}

// setRuntimes records the runtimes that a node's agent reports. It reports whether
// placement may differ now.
func (s *schedulerCache) setRuntimes(name string, runtimes []api.Runtime) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(name)
	changed = !slices.Equal(n.runtimes, runtimes)
	n.runtimes = runtimes
	s.prune(name)
	return changed
}

// has reports whether workers can start in a runtime on the node. Every agent has
// Runc; those of older releases report nothing.
func (n *nodeInfo) has(runtime api.Runtime) bool {
	return runtime == api.RuntimeRunc || slices.Contains(n.runtimes, runtime)
}

// recordHeartbeat records the renew time of an agent's Lease. It reports whether
// this made the agent live.
func (s *schedulerCache) recordHeartbeat(node string, renewed time.Time) (revived bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, now := s.node(node), s.clock.Now()
	before := n.heartbeat.state(now, s.leaseDuration)
	n.heartbeat = n.heartbeat.renew(renewed, now, s.leaseDuration)
	return before != agentLive && n.heartbeat.state(now, s.leaseDuration) == agentLive
}

// removeHeartbeat records that an agent's Lease was deleted.
func (s *schedulerCache) removeHeartbeat(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node(node).heartbeat = heartbeat{}
	s.prune(node)
}

// countAgents counts the existing nodes by the state of their agents.
func (s *schedulerCache) countAgents() map[agentState]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, now := map[agentState]int{}, s.clock.Now()
	for _, n := range s.nodes {
		if n.exists {
			count[n.heartbeat.state(now, s.leaseDuration)]++
		}
	}
	return count
}

// view returns a node as the conditions of its workers need it.
func (s *schedulerCache) view(name string) nodeView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := nodeView{name: name, leaseDuration: s.leaseDuration}
	if n, ok := s.nodes[name]; ok {
		v.exists, v.agent = n.exists, n.heartbeat.state(s.clock.Now(), s.leaseDuration)
	}
	return v
}

// timeUntilSilent returns how long the agent of a node may pause before it
// counts as silent; 0 if it does already.
func (s *schedulerCache) timeUntilSilent(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.nodes[name]; ok {
		return n.heartbeat.remaining(s.clock.Now(), s.leaseDuration)
	}
	return 0
}

// setWorker records a worker that is bound. It ignores one that is not: place
// may have assigned it already, and the informer is behind.
func (s *schedulerCache) setWorker(w *api.StormWorker) {
	if !bound(w) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assign(assignmentOf(w, w.Status.NodeName))
}

func assignmentOf(w *api.StormWorker, node string) assignment {
	return assignment{
		uid: w.UID, worker: types.NamespacedName{Namespace: w.Namespace, Name: w.Name}, id: w.ID(),
		node: node, topology: w.Spec.TopologyID, port: w.Spec.Port, request: workerRequest(w),
	}
}

// assign records an assignment in place of the worker's earlier one. Call it
// with the lock held.
func (s *schedulerCache) assign(a assignment) {
	if old, ok := s.assignments[a.uid]; ok {
		if old == a {
			return
		}
		s.unassign(old)
	}
	n := s.node(a.node)
	s.assignments[a.uid] = a
	delete(s.unschedulable, a.uid)
	s.claims.add(a)
	n.topologies[a.topology]++
	n.requested = n.requested.plus(a.request)
	if _, taken := n.ports[a.port]; !taken {
		n.ports[a.port] = a
	}
}

// unassign removes an assignment. Call it with the lock held.
func (s *schedulerCache) unassign(a assignment) {
	n := s.node(a.node)
	delete(s.assignments, a.uid)
	s.claims.remove(a)
	n.requested = n.requested.minus(a.request)
	if n.ports[a.port].uid == a.uid {
		delete(n.ports, a.port)
	}
	if n.topologies[a.topology]--; n.topologies[a.topology] == 0 {
		delete(n.topologies, a.topology)
	}
	s.prune(a.node)
}

// freed is what a deleted worker has left to others; its zero value is nothing.
type freed struct {
	node string
	port int32
	// names are its id and its topology's, unless others have them, too.
	names []string
	// activated are the workers to activate, see activate.
	activated []types.NamespacedName
}

// removeWorker records that a worker was deleted.
func (s *schedulerCache) removeWorker(uid types.UID) freed {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unschedulable, uid)
	a, ok := s.assignments[uid]
	if !ok {
		return freed{}
	}
	s.unassign(a)
	return freed{node: a.node, port: a.port, names: s.claims.free(a.id, a.topology), activated: s.activate(a.node, a.request)}
}

// setPod records a pod that is bound to a node and has not ended. It returns the
// workers to activate, since the pod may request less than before.
func (s *schedulerCache) setPod(uid types.UID, node string, request resources) (activated []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.pods[uid]
	usage := podUsage{node, request}
	if usage == old {
		return nil
	}
	s.removeUsage(uid)
	s.pods[uid] = usage
	n := s.node(node)
	n.requested = n.requested.plus(request)
	return s.activate(node, old.request.minus(request))
}

// removePod records that a pod was deleted or has ended. It returns the workers
// to activate.
func (s *schedulerCache) removePod(uid types.UID) (activated []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[uid]
	s.removeUsage(uid)
	return s.activate(p.node, p.request)
}

// removeUsage removes what a pod requests from its node. Call it with the lock
// held.
func (s *schedulerCache) removeUsage(uid types.UID) {
	p, ok := s.pods[uid]
	if !ok {
		return
	}
	delete(s.pods, uid)
	n := s.node(p.node)
	n.requested = n.requested.minus(p.request)
	s.prune(p.node)
}

// activate returns the unschedulable workers, to be placed again, if a node has
// more resources now. A worker that still finds no node becomes unschedulable
// again. Call it with the lock held.
func (s *schedulerCache) activate(node string, freed resources) (activated []types.NamespacedName) {
	n, ok := s.nodes[node]
	if !ok || !n.exists || freed.cpu <= 0 && freed.memory <= 0 {
		return nil
	}
	for uid, worker := range s.unschedulable {
		activated = append(activated, worker)
		delete(s.unschedulable, uid)
	}
	return activated
}

// place chooses a node for w, which runs in a runtime, and assigns w to it, or returns
// why no node fits. A second call returns the same node as long as the node exists.
func (s *schedulerCache) place(w *api.StormWorker, runtime api.Runtime) (node string, failure placementFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.assignments[w.UID]; ok && s.node(a.node).exists {
		return a.node, placementFailure{}
	}
	if failure := s.claims.check(w, s.assignments); failure.reason != "" {
		return "", failure
	}
	if w.Spec.NodeName != "" {
		failure = fits(s.candidate(w.Spec.NodeName, w, runtime), w, runtime)
		node = w.Spec.NodeName
	} else {
		candidates := make([]candidate, 0, len(s.nodes))
		for name := range s.nodes {
			candidates = append(candidates, s.candidate(name, w, runtime))
		}
		node, failure = choose(candidates, w, runtime)
	}
	if failure.insufficient {
		s.unschedulable[w.UID] = types.NamespacedName{Namespace: w.Namespace, Name: w.Name}
	}
	if failure.reason != "" {
		return "", failure
	}
	s.assign(assignmentOf(w, node))
	return node, placementFailure{}
}

// candidate returns a node as the placement of w sees it. Call it with the lock
// held.
func (s *schedulerCache) candidate(name string, w *api.StormWorker, runtime api.Runtime) candidate {
	n, ok := s.nodes[name]
	if !ok {
		return candidate{name: name}
	}
	c := candidate{
		name: name, exists: n.exists, facts: n.facts, requested: n.requested,
		lacksRuntime: !n.has(runtime),
		live:         n.heartbeat.state(s.clock.Now(), s.leaseDuration) == agentLive,
		workers:      len(n.ports), ofTopology: n.topologies[w.Spec.TopologyID],
	}
	if holder, taken := n.ports[w.Spec.Port]; taken && holder.uid != w.UID {
		c.portHolder = holder.worker
	}
	return c
}
