package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestProgramIsNotCached: what a worker runs is not in the manager's memory, and no write
// of the manager's takes it from the object.
func TestProgramIsNotCached(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	obj := newWorker("with-program", "", 6700)
	obj.Annotations, obj.Labels = map[string]string{"note": "mine"}, map[string]string{"team": "a"}
	obj.Spec.Command, obj.Spec.Env = []string{"java", "Main"}, []api.EnvVar{{Name: "A", Value: "b"}}
	obj.Finalizers = []string{"example.com/other"}
	want := obj.DeepCopy()
	w.create(obj)
	w.bound(obj) // with the finalizer and the status
	cached := new(api.StormWorker)
	w.must(w.cached.Get(w.ctx, client.ObjectKeyFromObject(obj), cached))
	if len(cached.Spec.Command)+len(cached.Spec.Env)+len(cached.Annotations)+len(cached.Labels)+len(cached.ManagedFields) > 0 {
		t.Errorf("the cache has %+v", cached)
	}
	w.must(w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj))
	want.Finalizers = append(want.Finalizers, api.WorkerFinalizer)
	if !equality.Semantic.DeepEqual(want.Spec.Command, obj.Spec.Command) || !equality.Semantic.DeepEqual(want.Spec.Env, obj.Spec.Env) ||
		!equality.Semantic.DeepEqual(want.Labels, obj.Labels) || !equality.Semantic.DeepEqual(want.Annotations, obj.Annotations) ||
		!equality.Semantic.DeepEqual(want.Finalizers, obj.Finalizers) {
		t.Errorf("the object has lost something: %s", cmp.Diff(want, obj))
	}
}
