package controllers

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

const someID = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"

func TestClaims(t *testing.T) {
	worker := func(namespace, name string, port int32, topology, id string) *api.StormWorker {
		w := withUID(newWorker(name, "", port))
		w.Namespace, w.Spec.TopologyID, w.Spec.WorkerID = namespace, topology, id
		return w
	}
	first := worker("team-a", "first", 6700, "wc-1-1", someID)
	for name, tt := range map[string]struct {
		second      *api.StormWorker
		reason, say string
	}{
		"another of the topology":      {worker("team-a", "w", 6701, "wc-1-1", ""), "", ""},
		"other names":                  {worker("team-b", "w", 6701, "wc-2-1", ""), "", ""},
		"the same id":                  {worker("team-a", "w", 6701, "wc-1-1", someID), api.ReasonWorkerIDInUse, "StormWorker first;"},
		"the same id at the same port": {worker("team-a", "w", 6700, "wc-1-1", someID), api.ReasonWorkerIDInUse, "StormWorker first;"},
		"a stranger's id":              {worker("team-b", "w", 6701, "wc-2-1", someID), api.ReasonWorkerIDInUse, "a StormWorker of another namespace;"},
		"a stranger's topology":        {worker("team-b", "w", 6701, "wc-1-1", ""), api.ReasonTopologyInUse, "another namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := testCache("n1", "n2")
			if _, failure := b.place(first, api.RuntimeRunc); failure.reason != "" {
				t.Fatal(failure)
			}
			_, failure := b.place(tt.second, api.RuntimeRunc)
			if failure.reason != tt.reason || !strings.Contains(failure.message, tt.say) {
				t.Errorf("%+v, want %s saying %q", failure, tt.reason, tt.say)
			}
			if tt.second.Namespace != first.Namespace && strings.Contains(failure.message, "first") || strings.Contains(failure.message, "team-a") {
				t.Errorf("it names what its maker may not see: %s", failure.message)
			}
			b.removeWorker(first.UID)
			if _, failure := b.place(tt.second, api.RuntimeRunc); failure.reason != "" {
				t.Errorf("the first is gone: %+v", failure)
			}
			b.removeWorker(tt.second.UID)
			if len(b.claims.ids) != 0 || len(b.claims.topologies) != 0 {
				t.Errorf("left behind: %+v", b.claims)
			}
		})
	}
}

// Managers that made no claims have bound workers that share names. They stay, and
// the names are free when the last of them is gone.
func TestClaimsOfAnOlderManager(t *testing.T) {
	b, _ := testCache("n1", "n2")
	var all []*api.StormWorker
	for i, namespace := range []string{"team-a", "team-b"} {
		w := withUID(newWorker(namespace, "", int32(6700+i)))
		w.Namespace, w.Spec.WorkerID, w.Status.NodeName = namespace, someID, "n1"
		b.setWorker(w)
		if node, failure := b.place(w, api.RuntimeRunc); node != "n1" {
			t.Errorf("%s is not kept: %+v", namespace, failure)
		}
		all = append(all, w)
	}
	third := withUID(newWorker("third", "", 6702))
	third.Namespace, third.Spec.WorkerID = "team-b", someID
	for i, want := range []string{api.ReasonWorkerIDInUse, api.ReasonWorkerIDInUse, ""} {
		if _, failure := b.place(third, api.RuntimeRunc); failure.reason != want {
			t.Errorf("%d are gone: %+v, want %q", i, failure, want)
		}
		if i < len(all) {
			if names := b.removeWorker(all[i].UID).names; (len(names) == 2) != (i == 1) {
				t.Errorf("%d are gone, and free are %v", i+1, names)
			}
		}
	}
}

// TestNamesAreTaken: a worker waits for names that others have, and is bound when
// they are gone.
func TestNamesAreTaken(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.create(newNode("n1"))
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-b"}})
	w.run(minute)
	first, second, stranger := onNode(newWorker("first", "", 6700), "n1"), onNode(newWorker("second", "", 6701), "n1"), onNode(newWorker("stranger", "", 6702), "n1")
	first.Spec.WorkerID, second.Spec.WorkerID = someID, someID
	stranger.Namespace = "team-b"
	w.create(first)
	w.bound(first)
	w.create(second)
	w.hasCondition(second, api.WorkerScheduled, metav1.ConditionFalse, api.ReasonWorkerIDInUse)
	w.must(w.c.Delete(w.ctx, first))
	w.bound(second)
	w.create(stranger)
	w.hasCondition(stranger, api.WorkerScheduled, metav1.ConditionFalse, api.ReasonTopologyInUse)
	w.must(w.c.Delete(w.ctx, second))
	w.bound(stranger)
}
