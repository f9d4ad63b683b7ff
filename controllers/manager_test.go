package controllers

import (
	"context"
	stderrors "errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
)

// TestWorkerForeignHand checks that a status that somebody edited by hand is put
// right, once.
func TestWorkerForeignHand(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj := newWorker("edited", "", 6700)
	w.create(obj)
	w.bound(obj)
	meta.FindStatusCondition(obj.Status.Conditions, api.WorkerAdmitted).Reason = "Tampered"
	w.must(w.c.Status().Update(w.ctx, obj))
	reconciles := reconcileCount(t, "stormworker")
	w.hasCondition(obj, api.WorkerAdmitted, metav1.ConditionTrue, api.ReasonAdmitted)
	next := newWorker("next", "", 6701)
	w.create(next)
	w.bound(next)
	if n := reconcileCount(t, "stormworker") - reconciles; n > 10 {
		t.Errorf("%v reconciles", n)
	}
}

// TestWritesOfStaleObjects checks that the manager never overwrites a word that
// it has not seen.
func TestWritesOfStaleObjects(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	obj := newWorker("stale", "", 6700)
	w.create(obj)
	stale := obj.DeepCopy()
	w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
	ready := metav1.Condition{
		Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost, Message: "so", LastTransitionTime: metav1.Now(),
	}
	status := &api.StormWorkerStatus{Conditions: []metav1.Condition{ready}}
	if err := applyStatus(w.ctx, w.c, stale, status); !errors.IsConflict(err) {
		t.Errorf("an older version: %v, want a conflict", err)
	}
	w.hasCondition(obj, api.WorkerReady, metav1.ConditionTrue, api.ReasonRunning)
	w.must(applyStatus(w.ctx, w.c, obj, status))

	w.must(w.c.Delete(w.ctx, obj))
	if err := applyStatus(w.ctx, w.c, obj, status); !errors.IsNotFound(err) {
		t.Errorf("an object that is gone: %v", err)
	}
	again := newWorker("stale", "", 6700)
	w.create(again)
	if err := applyStatus(w.ctx, w.c, obj, status); !errors.IsConflict(err) {
		t.Errorf("another object of the name: %v, want a conflict", err)
	}
}

// TestWriteFails checks that a worker whose write fails gets the same node when
// it is tried again, and that nothing is told of what was not written.
func TestWriteFails(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	i := newImage("storm/a:1")
	w.create(i)
	i.Status = imageStatus(i, imageFindings{image: foundImage()}, time.Now())
	w.must(w.c.Status().Update(w.ctx, i))
	watching, err := adminClientWithWatch()
	w.must(err)
	broken := true
	faulty := interceptor.NewClient(watching, interceptor.Funcs{
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			if broken {
				return errors.NewInternalError(stderrors.New("the disk of etcd is full"))
			}
			return c.SubResource(sub).Apply(ctx, obj, opts...)
		},
	})
	b, _ := testCache("n1", "n2")
	told := events.NewFakeRecorder(10)
	r := &workerReconciler{
		client: faulty, events: told, clock: clock.RealClock{}, cache: b, metrics: newClusterMetrics(w.c, b, nil),
		settings: func() Settings { return *w.settings.Load() },
	}
	obj := newWorker("unlucky", "", 6700)
	w.create(obj)
	req := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(obj)}
	for range 2 {
		if _, err := r.Reconcile(w.ctx, req); !errors.IsInternalError(err) {
			t.Fatalf("error %v", err)
		}
	}
	if len(told.Events) != 0 {
		t.Errorf("told of what was not written: %s", <-told.Events)
	}
	if n := placements(t, r.metrics); n != 0 {
		t.Errorf("%d placements are counted of what was not written", n)
	}
	b.place(withUID(newWorker("other", "", 6701)), api.RuntimeRunc) // makes n2 as good as n1
	broken = false
	if _, err := r.Reconcile(w.ctx, req); err != nil {
		t.Fatal(err)
	}
	w.bound(obj)
	if obj.Status.NodeName != "n1" || len(told.Events) != 1 {
		t.Errorf("node %s, %d events", obj.Status.NodeName, len(told.Events))
	}
	if n := placements(t, r.metrics); n != 1 {
		t.Errorf("%d placements are counted of one", n)
	}
}

// TestManagerRestart checks that a new manager takes over without a write, and
// without losing nodes or workers on the way.
func TestManagerRestart(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj := newWorker("stays", "", 6700)
	w.create(obj)
	w.bound(obj)
	w.report(obj, metav1.ConditionTrue, api.ReasonRunning)
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
	before := obj.ResourceVersion
	w.hasEvent(obj, api.ReasonScheduled)
	w.stop()

	second := onNode(newWorker("second", "", 6700), "n1")
	w.create(second)
	w.run(minute)
	w.hasCondition(second, api.WorkerScheduled, metav1.ConditionFalse, api.ReasonPortInUse)
	third := newWorker("third", "", 6701)
	w.create(third)
	w.bound(third)
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
	if obj.ResourceVersion != before {
		t.Errorf("written without news: %s then %s: %+v", before, obj.ResourceVersion, obj.Status.Conditions)
	}
}

// TestManagerIsQuiet checks over several refresh intervals, with heartbeats,
// that the manager sends no write and hardly looks at a worker.
func TestManagerIsQuiet(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj, blocked := newWorker("quiet", "", 6700), onNode(newWorker("blocked", "", 6700), "n1")
	w.create(obj)
	w.bound(obj)
	w.create(blocked)
	w.hasCondition(blocked, api.WorkerScheduled, metav1.ConditionFalse, api.ReasonPortInUse)
	i := newImage("storm/a:1")
	w.hasCondition(i, api.ImageReady, metav1.ConditionTrue, api.ReasonResolved)
	for obj, reason := range map[client.Object]string{obj: api.ReasonScheduled, blocked: api.ReasonPortInUse, i: api.ReasonResolved} {
		w.hasEvent(obj, reason) // events are the last to be written
	}
	reconciles, writes := reconcileCount(t, "stormworker"), managerWrites.Load()
	const rounds = 5
	for range rounds {
		w.renew("n1")
		w.changes <- struct{}{} // a change that changes nothing
		w.noHotLoop(i)
	}
	if n := managerWrites.Load() - writes; n > 0 {
		t.Errorf("%d writes without news", n)
	}
	if n := reconcileCount(t, "stormworker") - reconciles; n < 2*rounds || n > 2*rounds+2 {
		t.Errorf("%v reconciles of two workers in %d rounds", n, rounds)
	}
}

// BenchmarkApplyToBound measures the time from a worker's creation to its
// binding, as a watch of the node's agent sees it.
func BenchmarkApplyToBound(b *testing.B) {
	w := newWorld(b, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	warm := newWorker("warm", "", 6699)
	w.create(warm)
	w.bound(warm)
	watching, err := adminClientWithWatch()
	w.must(err)
	watcher, err := watching.Watch(w.ctx, &api.StormWorkerList{}, client.MatchingFields{"status.nodeName": "n1"})
	w.must(err)
	defer watcher.Stop()
	<-watcher.ResultChan() // warm

	port := int32(6700)
	for b.Loop() {
		w.create(newWorker(fmt.Sprintf("fast-%d", port), "", port))
		<-watcher.ResultChan()
		port++
	}
}

// TestManagerNeedsNoMore checks that the role refuses what the manager has no
// business with.
func TestManagerNeedsNoMore(t *testing.T) {
	c, err := client.New(managerConfig, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "storm/a:1")
	obj := newWorker("forbidden", "", 6700)
	for name, err := range map[string]error{
		"create worker": c.Create(w.ctx, obj),
		"delete worker": c.Delete(w.ctx, obj),
		"list secrets":  c.List(w.ctx, &corev1.SecretList{}),
		"delete a pod":  c.DeleteAllOf(w.ctx, &corev1.Pod{}, client.InNamespace(metav1.NamespaceDefault)),
	} {
		if !errors.IsForbidden(err) {
			t.Errorf("%s: %v, want forbidden", name, err)
		}
	}
}
