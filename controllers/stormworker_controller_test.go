package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
)

func TestWorkerIsBound(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	for name, image := range map[string]string{"named": "storm/a:1", "default": ""} {
		t.Run(name, func(t *testing.T) {
			obj := newWorker(name, image, int32(6700+len(name)))
			w.create(obj)
			w.bound(obj)
			w.hasCondition(obj, api.WorkerAdmitted, metav1.ConditionTrue, api.ReasonAdmitted)
			ready := w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonScheduled)
			if obj.Status.NodeName != "n1" || !slices.Contains(obj.Finalizers, api.WorkerFinalizer) {
				t.Errorf("node %q, finalizers %v", obj.Status.NodeName, obj.Finalizers)
			}
			pinned := obj.Status.Image
			if pinned == nil || pinned.Tag != "storm/a:1" || pinned.ManifestDigest != w.store.digest("storm/a:1") {
				t.Errorf("image %+v", pinned)
			}
			if !strings.Contains(ready.Message, "n1") {
				t.Errorf("message %q", ready.Message)
			}
			w.hasEvent(obj, api.ReasonScheduled)
		})
	}
	i := newImage("storm/a:1")
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
}

// TestWorkerRefused has a row for every way to stay unbound.
func TestWorkerRefused(t *testing.T) {
	tests := []struct {
		name     string
		allowed  []string
		worker   *api.StormWorker
		admitted metav1.ConditionStatus
		reason   string
		say      string
	}{
		{"image not in the list", []string{"storm/a:1"}, newWorker("w", "storm/b:1", 6700), metav1.ConditionFalse, api.ReasonImageNotAllowed, "storm/b:1"},
		{"empty list", nil, newWorker("w", "storm/a:1", 6700), metav1.ConditionFalse, api.ReasonNoImagesAllowed, "storm.oci.allowed.images"},
		{"no image, no default", []string{"*"}, newWorker("w", "", 6700), metav1.ConditionFalse, api.ReasonNoImage, "spec.image"},
		{"tag unknown", []string{"*"}, newWorker("w", "storm/gone:1", 6700), metav1.ConditionFalse, api.ReasonImageNotResolved, api.ReasonTagNotFound},
		{"no node fits", []string{"storm/a:1"}, newWorker("w", "storm/a:1", 6700), metav1.ConditionTrue, api.ReasonNoNodeFits, "all nodes are cordoned;"},
		{"node unknown", []string{"storm/a:1"}, onNode(newWorker("w", "storm/a:1", 6700), "n9"), metav1.ConditionTrue, api.ReasonNodeNotFound, "no node n9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.allowed...)
			w.store.add("storm/a:1", "x")
			cordoned := newNode("n1")
			cordoned.Spec.Unschedulable = true
			w.create(cordoned)
			w.create(newLease("n1"))
			w.run(minute)
			obj := tt.worker.DeepCopy()
			w.create(obj)
			ready := w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, tt.reason)
			if !strings.Contains(ready.Message, tt.say) {
				t.Errorf("message does not say %q: %s", tt.say, ready.Message)
			}
			if c := meta.FindStatusCondition(obj.Status.Conditions, api.WorkerAdmitted); c.Status != tt.admitted {
				t.Errorf("Admitted %s, want %s", c.Status, tt.admitted)
			}
			if obj.Status.NodeName != "" {
				t.Errorf("bound to %s", obj.Status.NodeName)
			}
			w.hasEvent(obj, tt.reason)
			w.must(w.c.Delete(w.ctx, obj))
			w.gone(obj)
		})
	}
}

// TestWorkerRuntimeDocker: workers in Docker have an allowlist of their own, and wait
// for a node whose agent reports Docker, also if they name it.
func TestWorkerRuntimeDocker(t *testing.T) {
	const image = "docker.io/storm/a:1"
	w := newWorld(t, "storm/a:1", image)
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	docker := func(name, image string, port int32) *api.StormWorker {
		obj := newWorker(name, image, port)
		obj.Spec.Runtime = api.RuntimeDocker
		return obj
	}
	stores, unnamed, named := docker("stores", "storm/a:1", 6700), docker("any", image, 6701), onNode(docker("named", image, 6702), "n1")
	for _, obj := range []*api.StormWorker{stores, unnamed, named} {
		w.create(obj)
		c := w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoImagesAllowed)
		if !strings.Contains(c.Message, "stormcell.docker.allowed.images is empty") {
			t.Errorf("message %q", c.Message)
		}
	}
	s := *w.settings.Load()
	s.DockerImages.Allowed = []string{image}
	w.settings.Store(&s)
	w.changes <- struct{}{}
	c := w.hasCondition(stores, api.WorkerReady, metav1.ConditionFalse, api.ReasonImageNameNotFull)
	if !strings.Contains(c.Message, "means "+image) {
		t.Errorf("message %q", c.Message)
	}
	w.hasCondition(unnamed, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits)
	w.hasCondition(named, api.WorkerReady, metav1.ConditionFalse, api.ReasonRuntimeMissing)

	w.reportRuntimes("n1", api.RuntimeDocker, api.RuntimeRunc)
	for _, obj := range []*api.StormWorker{unnamed, named} {
		w.bound(obj)
		if s := obj.Status; s.Runtime != api.RuntimeDocker || s.Image.Tag != image || s.Image.ManifestDigest != "" || s.NodeName != "n1" {
			t.Errorf("runtime %s, image %+v, node %s", s.Runtime, s.Image, s.NodeName)
		}
	}
	w.reportRuntimes("n1", api.RuntimeRunc)
	late := onNode(docker("late", image, 6703), "n1")
	w.create(late)
	w.hasCondition(late, api.WorkerReady, metav1.ConditionFalse, api.ReasonRuntimeMissing)
	w.must(w.c.Delete(w.ctx, late))
	w.gone(late)
	images := new(api.StormImageList)
	w.must(w.c.List(w.ctx, images))
	if len(images.Items) != 0 {
		t.Errorf("%d StormImages, want none: Docker does not need the store", len(images.Items))
	}
}

// TestWorkerWaits checks that a worker goes on as soon as what it lacks comes.
func TestWorkerWaits(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.run(minute)
	obj := newWorker("waits", "storm/b:1", 6700)
	w.create(obj)
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonImageNotAllowed)
	w.change("storm/a:1", "storm/b:1")
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonImageNotResolved)
	w.store.add("storm/b:1", "x")
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits)
	w.create(newNode("n1"))
	c := w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits)
	w.eventually(func() error {
		if c = w.hasCondition(obj, api.WorkerReady, metav1.ConditionFalse, api.ReasonNoNodeFits); !strings.Contains(c.Message, "all nodes have no live node-agent") {
			return fmt.Errorf("message %q", c.Message)
		}
		return nil
	})
	w.create(newLease("n1"))
	w.bound(obj)
}

// TestWorkerOfAStaleImage checks that a store that is away stops nobody: nodes
// may have the layers.
func TestWorkerOfAStaleImage(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	first := newWorker("first", "", 6700)
	w.create(first)
	w.bound(first)
	w.store.leave()
	i := newImage("storm/a:1")
	w.hasCondition(i, api.ImageReady, metav1.ConditionUnknown, api.ReasonStoreUnavailable)
	second := newWorker("second", "", 6701)
	w.create(second)
	w.bound(second)
}

func TestWorkerStaysPinned(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj := newWorker("pinned", "", 6700)
	w.create(obj)
	w.bound(obj)
	pinned := obj.Status.Image.ManifestDigest
	w.store.add("storm/a:1", "y")
	i := newImage("storm/a:1")
	w.eventually(func() error {
		w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(i), i))
		if i.Status.ManifestDigest == pinned {
			return errors.New("the image has not moved")
		}
		return nil
	})
	w.hasEvent(i, api.ReasonResolved)
	next := newWorker("next", "", 6701)
	w.create(next)
	w.bound(next)
	if next.Status.Image.ManifestDigest != w.store.digest("storm/a:1") {
		t.Errorf("a new worker got %s", next.Status.Image.ManifestDigest)
	}
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
	if obj.Status.Image.ManifestDigest != pinned {
		t.Errorf("moved from %s to %s", pinned, obj.Status.Image.ManifestDigest)
	}
}

// TestWorkerOfAnImageNoLongerAllowed: one that runs, runs on; one that has not
// started must not.
func TestWorkerOfAnImageNoLongerAllowed(t *testing.T) {
	w := newWorld(t, "storm/a:1", "storm/b:1")
	w.store.add("storm/b:1", "x")
	w.addNode("n1")
	w.run(minute)
	started, waiting := newWorker("started", "storm/b:1", 6700), newWorker("waiting", "storm/b:1", 6701)
	for _, obj := range []*api.StormWorker{started, waiting} {
		w.create(obj)
		w.bound(obj)
	}
	w.report(started, metav1.ConditionTrue, api.ReasonRunning)
	w.change("storm/a:1")
	c := w.hasCondition(started, api.WorkerAdmitted, metav1.ConditionTrue, api.ReasonImageNotAllowed)
	if !strings.Contains(c.Message, "continues to run") {
		t.Errorf("message %q", c.Message)
	}
	w.hasCondition(waiting, api.WorkerAdmitted, metav1.ConditionFalse, api.ReasonImageNotAllowed)
	w.hasCondition(waiting, api.WorkerReady, metav1.ConditionFalse, api.ReasonImageNotAllowed)
	w.change("storm/a:1", "storm/b:1")
	for _, obj := range []*api.StormWorker{started, waiting} {
		w.hasCondition(obj, api.WorkerAdmitted, metav1.ConditionTrue, api.ReasonAdmitted)
	}
}

func TestWorkerAdmittedForEachGeneration(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj := newWorker("edited", "", 6700)
	w.create(obj)
	w.bound(obj)
	patch := client.MergeFrom(obj.DeepCopy())
	obj.Spec.RestartPolicy = api.RestartNever
	w.must(w.c.Patch(w.ctx, obj, patch))
	w.eventually(func() error {
		c := w.hasCondition(obj, api.WorkerAdmitted, metav1.ConditionTrue, api.ReasonAdmitted)
		if obj.Generation != 2 || c.ObservedGeneration != 2 {
			return fmt.Errorf("generation %d, admitted %d", obj.Generation, c.ObservedGeneration)
		}
		return nil
	})
}

func TestWorkerPortConflict(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.create(newNode("n1")) // a node that is named needs no agent
	w.run(minute)
	first, second := onNode(newWorker("first", "", 6700), "n1"), onNode(newWorker("second", "", 6700), "n1")
	w.create(first)
	w.bound(first)
	w.create(second)
	c := w.hasCondition(second, api.WorkerScheduled, metav1.ConditionFalse, api.ReasonPortInUse)
	if !strings.Contains(c.Message, "StormWorker first;") || !strings.Contains(c.Message, "6700") {
		t.Errorf("message %q", c.Message)
	}
	w.must(w.c.Delete(w.ctx, first))
	w.bound(second)
}

// TestWorkersRaceForPorts makes many workers at once that want few ports: no
// two of them may get one port of one node.
func TestWorkersRaceForPorts(t *testing.T) {
	const nodes, ports, workers = 4, 3, 40
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	for n := range nodes {
		w.addNode(fmt.Sprintf("n%d", n))
	}
	w.run(minute)
	done := make(chan error, workers)
	for n := range workers {
		obj := newWorker(fmt.Sprintf("race-%d", n), "", int32(6700+n%ports))
		if n%5 == 0 {
			onNode(obj, fmt.Sprintf("n%d", n%nodes))
		}
		go func() { done <- w.c.Create(w.ctx, obj) }()
	}
	for range workers {
		w.must(<-done)
	}
	w.fullHouse(nodes * ports)
	// Every port that falls free is taken again, by one worker.
	var list api.StormWorkerList
	w.must(w.c.List(w.ctx, &list))
	gone := 0
	for i := range list.Items {
		if bound(&list.Items[i]) && gone < 6 && list.Items[i].Spec.NodeName == "" {
			w.must(w.c.Delete(w.ctx, &list.Items[i]))
			w.report(&list.Items[i], metav1.ConditionFalse, api.ReasonRemoved)
			w.gone(&list.Items[i])
			gone++
		}
	}
	w.fullHouse(nodes * ports)
}

// fullHouse waits until so many workers are bound and every other one knows
// why it is not, and checks that no port is given twice.
func (w *world) fullHouse(ports int) {
	w.Helper()
	w.eventually(func() error {
		var list api.StormWorkerList
		w.must(w.c.List(w.ctx, &list))
		holders := map[string]string{}
		for i := range list.Items {
			obj := &list.Items[i]
			if !bound(obj) {
				if condition.Reason(obj.Status.Conditions, api.WorkerScheduled) == "" {
					return fmt.Errorf("%s is not decided", obj.Name)
				}
				continue
			}
			port := fmt.Sprintf("%s:%d", obj.Status.NodeName, obj.Spec.Port)
			if other, taken := holders[port]; taken {
				w.Fatalf("%s belongs to %s and %s", port, other, obj.Name)
			}
			holders[port] = obj.Name
		}
		if len(holders) != ports {
			return fmt.Errorf("%d ports taken, want %d", len(holders), ports)
		}
		return nil
	})
}
