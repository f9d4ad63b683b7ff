package controllers

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// nodeFacts is what placement takes from a Node object.
type nodeFacts struct {
	// ready is false if the node has a kubelet that says so. One without, where
	// the agent is a service of the system, is judged by the agent alone.
	ready, cordoned bool
	labels          map[string]string
	// taints are those that keep workers away that do not tolerate them.
	taints []corev1.Taint
	// allocatable is what the kubelet gives to pods; unknown without a kubelet.
	allocatable room
}

// factsOf reads a node. The maps and slices are the object's own.
func factsOf(n *corev1.Node) nodeFacts {
	facts := nodeFacts{
		ready: true, cordoned: n.Spec.Unschedulable, labels: n.Labels,
		allocatable: roomIn(n.Status.Allocatable),
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			facts.ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, t := range n.Spec.Taints {
		if keepsAway(t) {
			facts.taints = append(facts.taints, t)
		}
	}
	return facts
}

// keepsAway tells whether a taint matters to placement. Those of a node that is
// not ready or cordoned repeat what else is known; and workers have the host's
// network, whatever the network of pods is.
func keepsAway(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable:
		return false
	default:
		return t.Effect != corev1.TaintEffectPreferNoSchedule
	}
}

// selects tells whether a node's labels are all that a selector asks for.
func selects(selector, labels map[string]string) bool {
	for key, want := range selector {
		if have, ok := labels[key]; !ok || have != want {
			return false
		}
	}
	return true
}

// tolerates tells whether each taint is tolerated, as Kubernetes judges it.
func tolerates(tolerations []api.Toleration, taints []corev1.Taint) bool {
	for i := range taints {
		t := &taints[i]
		matches := func(o api.Toleration) bool {
			return (o.Effect == "" || o.Effect == string(t.Effect)) && (o.Key == "" || o.Key == t.Key) &&
				(o.Operator == api.TolerationExists || o.Value == t.Value)
		}
		if !slices.ContainsFunc(tolerations, matches) {
			return false
		}
	}
	return true
}

// room is CPU, in thousandths of one, and memory, in bytes.
type room struct{ cpu, memory int64 }

func (r room) known() bool { return r != room{} }

func (r room) plus(o room) room  { return room{r.cpu + o.cpu, r.memory + o.memory} }
func (r room) minus(o room) room { return room{r.cpu - o.cpu, r.memory - o.memory} }

func roomIn(l corev1.ResourceList) room { return room{l.Cpu().MilliValue(), l.Memory().Value()} }

// roomOf is what a worker may use: its limits are its requests. Without limits
// it counts as nothing.
func roomOf(w *api.StormWorker) (r room) {
	if cpu := w.Spec.Resources.Limits.CPU; cpu != nil {
		r.cpu = cpu.MilliValue()
	}
	if memory := w.Spec.Resources.Limits.Memory; memory != nil {
		r.memory = memory.Value()
	}
	return r
}

// roomOfPod is what kube-scheduler counts for a pod.
func roomOfPod(p *corev1.Pod) room {
	return roomIn(resource.PodRequests(p, resource.PodResourcesOptions{}))
}
