package controllers

import (
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// board is what placement looks at: every node, the life signs of its agent, the
// workers on it and the room that its pods take. It is fed by the watches, and by place itself: a worker
// holds its seat from the moment it is chosen, before any cache has seen it. So
// two workers never get one port of one node.
type board struct {
	leaseDuration time.Duration
	clock         clock.PassiveClock

	mu    sync.Mutex
	nodes map[string]*boardNode
	seats map[types.UID]seat
	// pods are those that take room, short the workers that found none.
	pods  map[types.UID]lodger
	short map[types.UID]types.NamespacedName
}

// boardNode is one node. It may be known by its Lease or its workers only.
type boardNode struct {
	exists bool
	facts  nodeFacts
	pulse  pulse
	// ports are the workers by port, topologies their number by topology.
	ports      map[int32]seat
	topologies map[string]int
	// used is the room of all pods and workers.
	used room
}

// lodger is a pod's place on a node.
type lodger struct {
	node string
	room room
}

// seat is a worker's place on a node.
type seat struct {
	uid            types.UID
	worker         types.NamespacedName
	node, topology string
	port           int32
	room           room
}

func newBoard(leaseDuration time.Duration, c clock.PassiveClock) *board {
	return &board{
		leaseDuration: leaseDuration, clock: c, nodes: map[string]*boardNode{}, seats: map[types.UID]seat{},
		pods: map[types.UID]lodger{}, short: map[types.UID]types.NamespacedName{},
	}
}

// at returns the node of a name. Call it with the lock held.
func (b *board) at(name string) *boardNode {
	n, ok := b.nodes[name]
	if !ok {
		n = &boardNode{ports: map[int32]seat{}, topologies: map[string]int{}}
		b.nodes[name] = n
	}
	return n
}

// setNode notes that a node is there and what it says. It tells whether that is
// news.
func (b *board) setNode(name string, facts nodeFacts) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.at(name)
	changed = !n.exists || !reflect.DeepEqual(n.facts, facts)
	n.exists, n.facts = true, facts
	return changed
}

func (b *board) removeNode(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.at(name)
	n.exists, n.facts = false, nodeFacts{}
	b.forget(name)
}

// forget drops a node that nothing is known of any more.
func (b *board) forget(name string) {
	if n := b.at(name); !n.exists && !n.pulse.seen() && len(n.ports) == 0 && n.used == (room{}) {
		delete(b.nodes, name)
	}
}

// beat notes what the Lease of a node's agent says. It tells whether the agent
// has come to life by it.
func (b *board) beat(node string, renewed time.Time) (revived bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, now := b.at(node), b.clock.Now()
	before := n.pulse.state(now, b.leaseDuration)
	n.pulse = n.pulse.beat(renewed, now, b.leaseDuration)
	return before != agentLive && n.pulse.state(now, b.leaseDuration) == agentLive
}

// stopBeat notes that the Lease of a node's agent is gone.
func (b *board) stopBeat(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(node).pulse = pulse{}
	b.forget(node)
}

// agents counts the nodes that are there by the state of their agents.
func (b *board) agents() map[agentState]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	count, now := map[agentState]int{}, b.clock.Now()
	for _, n := range b.nodes {
		if n.exists {
			count[n.pulse.state(now, b.leaseDuration)]++
		}
	}
	return count
}

// view is a node as the conditions of its workers need it.
func (b *board) view(name string) nodeView {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := nodeView{name: name, silence: b.leaseDuration}
	if n, ok := b.nodes[name]; ok {
		v.exists, v.agent = n.exists, n.pulse.state(b.clock.Now(), b.leaseDuration)
	}
	return v
}

// patience is how long the agent of a node may stay silent until it is given
// up; 0 if it is already.
func (b *board) patience(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, ok := b.nodes[name]; ok {
		return n.pulse.remaining(b.clock.Now(), b.leaseDuration)
	}
	return 0
}

// setWorker notes a worker that is bound. One that is not bound changes
// nothing: it may be on its way there.
func (b *board) setWorker(w *api.StormWorker) {
	if !bound(w) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sit(seatOf(w, w.Status.NodeName))
}

func seatOf(w *api.StormWorker, node string) seat {
	return seat{
		uid: w.UID, worker: types.NamespacedName{Namespace: w.Namespace, Name: w.Name},
		node: node, topology: w.Spec.TopologyID, port: w.Spec.Port, room: roomOf(w),
	}
}

// sit seats a worker, and takes it from where it sat. Call it with the lock held.
func (b *board) sit(s seat) {
	if old, ok := b.seats[s.uid]; ok {
		if old == s {
			return
		}
		b.rise(old)
	}
	n := b.at(s.node)
	b.seats[s.uid] = s
	delete(b.short, s.uid)
	n.topologies[s.topology]++
	n.used = n.used.plus(s.room)
	if _, taken := n.ports[s.port]; !taken {
		n.ports[s.port] = s
	}
}

func (b *board) rise(s seat) {
	n := b.at(s.node)
	delete(b.seats, s.uid)
	n.used = n.used.minus(s.room)
	if n.ports[s.port].uid == s.uid {
		delete(n.ports, s.port)
	}
	if n.topologies[s.topology]--; n.topologies[s.topology] == 0 {
		delete(n.topologies, s.topology)
	}
	b.forget(s.node)
}

// removeWorker notes that a worker is gone. It returns those that may have the
// room for which they wait.
func (b *board) removeWorker(uid types.UID) (roused []types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.short, uid)
	s, ok := b.seats[uid]
	if !ok {
		return nil
	}
	b.rise(s)
	return b.rouse(s.node, s.room)
}

// setPod notes a pod that is bound to a node and has not ended. It returns those
// that may have the room for which they wait, as the pod may have become smaller.
func (b *board) setPod(uid types.UID, node string, size room) (roused []types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.pods[uid]
	if now := (lodger{node, size}); now != old {
		b.leave(uid)
		b.pods[uid] = now
		n := b.at(node)
		n.used = n.used.plus(size)
		return b.rouse(node, old.room.minus(size))
	}
	return nil
}

// removePod notes that a pod is gone or has ended, as removeWorker does.
func (b *board) removePod(uid types.UID) (roused []types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pods[uid]
	b.leave(uid)
	return b.rouse(p.node, p.room)
}

// leave takes a pod off its node. Call it with the lock held.
func (b *board) leave(uid types.UID) {
	p, ok := b.pods[uid]
	if !ok {
		return
	}
	delete(b.pods, uid)
	n := b.at(p.node)
	n.used = n.used.minus(p.room)
	b.forget(p.node)
}

// rouse returns the workers that wait for room, if some has become free on a
// node. They are short again when they do not get it. Call it with the lock held.
func (b *board) rouse(node string, freed room) (roused []types.NamespacedName) {
	n, ok := b.nodes[node]
	if !ok || !n.exists || freed.cpu <= 0 && freed.memory <= 0 {
		return nil
	}
	for uid, worker := range b.short {
		roused = append(roused, worker)
		delete(b.short, uid)
	}
	return roused
}

// place chooses a node for w by choose and seats it there, or tells why there
// is none. Asked again, it gives the same node as long as that exists.
func (b *board) place(w *api.StormWorker) (node string, refusal placeRefusal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.seats[w.UID]; ok && b.at(s.node).exists {
		return s.node, placeRefusal{}
	}
	if w.Spec.NodeName != "" {
		refusal = fits(b.candidate(w.Spec.NodeName, w), w)
		node = w.Spec.NodeName
	} else {
		candidates := make([]candidate, 0, len(b.nodes))
		for name := range b.nodes {
			candidates = append(candidates, b.candidate(name, w))
		}
		node, refusal = choose(candidates, w)
	}
	if refusal.scarce {
		b.short[w.UID] = types.NamespacedName{Namespace: w.Namespace, Name: w.Name}
	}
	if refusal.reason != "" {
		return "", refusal
	}
	b.sit(seatOf(w, node))
	return node, placeRefusal{}
}

// candidate is a node as placement of w sees it. Call it with the lock held.
func (b *board) candidate(name string, w *api.StormWorker) candidate {
	n, ok := b.nodes[name]
	if !ok {
		return candidate{name: name}
	}
	c := candidate{
		name: name, exists: n.exists, facts: n.facts, used: n.used,
		live:    n.pulse.state(b.clock.Now(), b.leaseDuration) == agentLive,
		workers: len(n.ports), ofTopology: n.topologies[w.Spec.TopologyID],
	}
	if holder, taken := n.ports[w.Spec.Port]; taken && holder.uid != w.UID {
		c.portHolder = holder.worker.String()
	}
	return c
}
