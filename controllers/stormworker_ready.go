package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// nodeView is the state of the node that a worker is bound to.
type nodeView struct {
	name   string
	exists bool
	agent  agentState
	// leaseDuration is the time without a renewal after which an agent is silent.
	leaseDuration time.Duration
}

// reported reports whether the worker's agent has written its status.
func reported(w *api.StormWorker) bool {
	return meta.FindStatusCondition(w.Status.Conditions, api.WorkerLocalized) != nil
}

// readyWorker returns the condition Ready while it is the manager's to write, else
// nil. It is the manager's until the agent has reported, and while the node is lost.
func readyWorker(w *api.StormWorker, admitted, scheduled metav1.Condition, node nodeView) *metav1.Condition {
	lost := lostMessage(node)
	switch {
	case reported(w) && lost != "":
		return &metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost, Message: lost}
	case reported(w) && condition.Reason(w.Status.Conditions, api.WorkerReady) != api.ReasonNodeLost:
		return nil
	case reported(w):
		return &metav1.Condition{
			Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost,
			Message: fmt.Sprintf("the node-agent of %s is back and has not reported on this worker yet", node.name),
		}
	case admitted.Status != metav1.ConditionTrue:
		return &metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionFalse, Reason: admitted.Reason, Message: admitted.Message}
	case scheduled.Status == metav1.ConditionTrue && (!node.exists || node.agent == agentSilent):
		return &metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost, Message: lost}
	default:
		return &metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionFalse, Reason: scheduled.Reason, Message: scheduled.Message}
	}
}

// lostMessage returns why a node is lost; "" if it is not.
func lostMessage(node nodeView) string {
	switch {
	case !node.exists:
		return fmt.Sprintf("node %s was removed from the cluster; delete the worker", node.name)
	case node.agent == agentSilent:
		return fmt.Sprintf("the node-agent of %s has been silent for %s: check the node; the worker may still run there", node.name, node.leaseDuration)
	case node.agent == agentNone:
		return fmt.Sprintf("the node-agent of %s no longer has a Lease %s/%s: check the node; the worker may still run there",
			node.name, api.SystemNamespace, api.LeaseName(node.name))
	default:
		return ""
	}
}

// scheduledCondition returns the condition of a worker that is bound.
func scheduledCondition(w *api.StormWorker, node nodeView) metav1.Condition {
	c := metav1.Condition{
		Type: api.WorkerScheduled, Status: metav1.ConditionTrue, Reason: api.ReasonScheduled,
		Message: "bound to node " + node.name,
	}
	if node.agent == agentNone && !reported(w) {
		c.Message += fmt.Sprintf("; no node-agent has reported from there yet (no Lease %s/%s)", api.SystemNamespace, api.LeaseName(node.name))
	}
	return c
}

// finalizable reports whether the object of a worker that is being deleted can be
// removed: the agent has removed the worker, or there is no agent to ask.
func finalizable(w *api.StormWorker, node nodeView) bool {
	switch {
	case !bound(w), !node.exists:
		return true
	case reported(w):
		return condition.Reason(w.Status.Conditions, api.WorkerMounted) == api.ReasonRemoved
	default:
		// An agent that starts now removes workers that have no object.
		return node.agent == agentNone
	}
}
