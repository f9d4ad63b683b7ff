package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func TestWorkerDeletion(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.create(newNode("quiet"))
	w.run(minute)

	t.Run("after the agent has removed it", func(t *testing.T) {
		obj := newWorker("removed", "", 6700)
		w.create(obj)
		w.bound(obj)
		w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
		w.must(w.c.Delete(w.ctx, obj))
		w.report(obj, metav1.ConditionFalse, api.ReasonStopping)
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
		w.report(obj, metav1.ConditionFalse, api.ReasonRemoved)
		w.gone(obj)
	})
	t.Run("when the node is gone", func(t *testing.T) {
		obj := newWorker("orphan", "", 6700)
		w.create(obj)
		w.bound(obj)
		w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
		w.must(w.c.Delete(w.ctx, obj))
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
		w.must(w.c.Delete(w.ctx, newNode("n1")))
		w.gone(obj)
	})
	t.Run("at once where no agent ever was", func(t *testing.T) {
		obj := onNode(newWorker("unseen", "", 6700), "quiet")
		w.create(obj)
		w.bound(obj)
		w.must(w.c.Delete(w.ctx, obj))
		w.gone(obj)
	})
}

// TestWorkerWaitsForRoom: what pods take counts, and a worker hears when one ends.
func TestWorkerWaitsForRoom(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	n := newNode("n1")
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(n), n))
	n.Status.Allocatable = resourceList("2", "4Gi")
	w.must(w.c.Status().Update(w.ctx, n))
	w.run(minute)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "takes-room"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{
			Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: resourceList("100m", "3Gi")},
		}}},
	}
	w.create(pod)
	obj := limited(newWorker("waits", "", 6700), "1", "2Gi")
	w.create(obj)
	c := w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits)
	if !strings.Contains(c.Message, "less free memory than 2Gi") {
		t.Errorf("message %q", c.Message)
	}
	pod.Status.Phase = corev1.PodSucceeded
	w.must(w.c.Status().Update(w.ctx, pod))
	w.bound(obj)
	w.must(w.c.Delete(w.ctx, pod, client.GracePeriodSeconds(0)))
}

func resourceList(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func TestWorkerKeepsFinalizersOfOthers(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.run(minute)
	obj := newWorker("shared", "", 6700)
	obj.Finalizers = []string{"example.com/other", api.WorkerFinalizer}
	w.create(obj)
	w.must(w.c.Delete(w.ctx, obj))
	w.eventually(func() error {
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
		if !slices.Equal(obj.Finalizers, []string{"example.com/other"}) {
			return fmt.Errorf("finalizers %v", obj.Finalizers)
		}
		return nil
	})
}

func TestNodeLost(t *testing.T) {
	const silence = 1500 * time.Millisecond
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.addNode("n2")
	w.run(silence)
	obj := onNode(newWorker("lost", "", 6700), "n1")
	unseen := onNode(newWorker("unseen", "", 6701), "n1")
	for _, o := range []*api.StormWorker{obj, unseen} {
		w.create(o)
		w.bound(o)
	}
	w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionTrue, api.ReasonRunning)

	c := w.hasCondition(obj, api.WorkerReady, metav1.ConditionUnknown, api.ReasonNodeLost)
	if !strings.Contains(c.Message, "n1") || !strings.Contains(c.Message, "1.5s") {
		t.Errorf("message %q", c.Message)
	}
	w.hasEvent(obj, api.ReasonNodeLost)
	w.hasCondition(unseen, api.WorkerReady, metav1.ConditionUnknown, api.ReasonNodeLost)
	if !meta.IsStatusConditionTrue(obj.Status.Conditions, api.WorkerLocalized) || obj.Status.ContainerID == "" {
		t.Error("the rest of the agent's word is gone")
	}

	w.renew("n1")
	w.eventually(func() error {
		if c = w.hasCondition(obj, api.WorkerReady, metav1.ConditionUnknown, api.ReasonNodeLost); !strings.Contains(c.Message, "is back") {
			return fmt.Errorf("message %q", c.Message)
		}
		return nil
	})
	w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionTrue, api.ReasonRunning)
	if owners := w.ownersOfReady(obj); owners[api.ManagerFieldOwner] || !owners[api.AgentFieldOwner] {
		t.Errorf("owners of Ready's reason: %v, want the agent alone", owners)
	}
	// Both agents fall silent again: a worker of any node finds none.
	late := newWorker("late", "", 6702)
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionUnknown, api.ReasonNodeLost)
	w.create(late)
	w.hasCondition(late, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits)

	w.must(w.c.Delete(w.ctx, obj))
	w.eventually(func() error {
		c := w.hasCondition(obj, api.WorkerReady, metav1.ConditionUnknown, api.ReasonNodeLost)
		if !strings.Contains(c.Message, "when the Node is deleted") {
			return fmt.Errorf("message %q", c.Message)
		}
		return nil
	})
}

// ownersOfReady are the owners of the reason of a worker's condition Ready.
func (w *world) ownersOfReady(obj client.Object) map[string]bool {
	w.Helper()
	owners := map[string]bool{}
	for _, f := range obj.GetManagedFields() {
		_, ready, ok := strings.Cut(f.FieldsV1.GetRawString(), `"k:{\"type\":\"Ready\"}":{`)
		if own, _, _ := strings.Cut(ready, "}}"); ok && strings.Contains(own, "f:reason") {
			owners[f.Manager] = true
		}
	}
	return owners
}
