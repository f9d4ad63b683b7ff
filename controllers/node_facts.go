package controllers

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// nodeFacts is what placement reads of a Node object.
type nodeFacts struct {
	// ready is false only if a kubelet says so. A node without a kubelet, where
	// the agent is a service of the system, is judged by the agent alone.
	ready, cordoned bool
	labels          map[string]string
	// taints are those that workers must tolerate.
	taints []corev1.Taint
	// allocatable is what the kubelet offers to pods; unknown without a kubelet.
	allocatable resources
}

// factsOf reads a node. The maps and slices are the object's own.
func factsOf(n *corev1.Node) nodeFacts {
	facts := nodeFacts{
		ready: true, cordoned: n.Spec.Unschedulable, labels: n.Labels,
		allocatable: resourcesIn(n.Status.Allocatable),
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

// keepsAway reports whether workers must tolerate a taint. Taints of nodes that
// are not ready or cordoned repeat other facts, and workers use the host's
// network, whatever the state of the pod network.
func keepsAway(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable:
		return false
	default:
		return t.Effect != corev1.TaintEffectPreferNoSchedule
	}
}

// selects reports whether a selector matches a node's labels.
func selects(selector, labels map[string]string) bool {
	for key, want := range selector {
		if have, ok := labels[key]; !ok || have != want {
			return false
		}
	}
	return true
}

// tolerates reports whether each taint is tolerated, by the rules of Kubernetes.
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

// resources are CPU, in thousandths of one, and memory, in bytes.
type resources struct{ cpu, memory int64 }

func (r resources) known() bool { return r != resources{} }

func (r resources) plus(o resources) resources { return resources{r.cpu + o.cpu, r.memory + o.memory} }

func (r resources) minus(o resources) resources { return resources{r.cpu - o.cpu, r.memory - o.memory} }

func resourcesIn(l corev1.ResourceList) resources {
	return resources{l.Cpu().MilliValue(), l.Memory().Value()}
}

// workerRequest returns a worker's limits, which are its requests too. A worker
// without limits requests nothing.
func workerRequest(w *api.StormWorker) (r resources) {
	if cpu := w.Spec.Resources.Limits.CPU; cpu != nil {
		r.cpu = cpu.MilliValue()
	}
	if memory := w.Spec.Resources.Limits.Memory; memory != nil {
		r.memory = memory.Value()
	}
	return r
}

// podRequest returns what kube-scheduler counts for a pod.
func podRequest(p *corev1.Pod) resources {
	return resourcesIn(resource.PodRequests(p, resource.PodResourcesOptions{}))
}
