package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

// nodeView is what the manager sees of the node that a worker is bound to.
type nodeView struct {
	name   string
	exists bool
	agent  agentState
	// silence is for how long an agent is silent that is given up.
	silence time.Duration
}

// spoken tells whether the worker's agent has reported it.
func spoken(w *api.StormWorker) bool {
	return meta.FindStatusCondition(w.Status.Conditions, api.WorkerLocalized) != nil
}

// readyWorker returns the condition Ready where it is the manager's to write,
// else nil: it is so until the agent has spoken, and while the node is lost.
func readyWorker(w *api.StormWorker, admitted, scheduled metav1.Condition, node nodeView) *metav1.Condition {
	lost := lostMessage(node)
	switch {
	case spoken(w) && lost != "":
		return &metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost, Message: lost}
	case spoken(w) && condition.Reason(w.Status.Conditions, api.WorkerReady) != api.ReasonNodeLost:
		return nil
	case spoken(w):
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

// lostMessage tells why a node is lost; "" if it is not.
func lostMessage(node nodeView) string {
	switch {
	case !node.exists:
		return fmt.Sprintf("node %s is gone from the cluster; delete the worker", node.name)
	case node.agent == agentSilent:
		return fmt.Sprintf("the node-agent of %s has been silent for %s: look at the node; the worker may still run there", node.name, node.silence)
	case node.agent == agentNone:
		return fmt.Sprintf("the node-agent of %s has no Lease %s/%s any more: look at the node; the worker may still run there",
			node.name, api.SystemNamespace, api.LeaseName(node.name))
	default:
		return ""
	}
}

// scheduledCondition words the binding of a worker.
func scheduledCondition(w *api.StormWorker, node nodeView) metav1.Condition {
	c := metav1.Condition{
		Type: api.WorkerScheduled, Status: metav1.ConditionTrue, Reason: api.ReasonScheduled,
		Message: "bound to node " + node.name,
	}
	if node.agent == agentNone && !spoken(w) {
		c.Message += fmt.Sprintf("; no node-agent has spoken there yet (no Lease %s/%s)", api.SystemNamespace, api.LeaseName(node.name))
	}
	return c
}

// releaseWorker tells whether the object of a worker that is being deleted may
// go: nothing of it can be left on a node that anybody could ask.
func releaseWorker(w *api.StormWorker, node nodeView) bool {
	switch {
	case !bound(w), !node.exists:
		return true
	case spoken(w):
		return condition.Reason(w.Status.Conditions, api.WorkerMounted) == api.ReasonRemoved
	default:
		// An agent that starts just now removes what has no object.
		return node.agent == agentNone
	}
}
