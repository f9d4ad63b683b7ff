package strip_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/strip"
)

func worker() *api.StormWorker {
	return &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{
			Name: "w", Namespace: "storm", UID: "u", ResourceVersion: "7", Generation: 2, Finalizers: []string{api.WorkerFinalizer, "x/y"},
			Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"},
			OwnerReferences: []metav1.OwnerReference{{Name: "o"}}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		Spec:   api.StormWorkerSpec{TopologyID: "t", Port: 6700, Command: []string{"java"}, Env: []api.EnvVar{{Name: "A", Value: "b"}}},
		Status: api.StormWorkerStatus{NodeName: "n"},
	}
}

func TestStrip(t *testing.T) {
	bare := worker()
	bare.ManagedFields, bare.Annotations, bare.Labels, bare.OwnerReferences = nil, nil, nil, nil
	got, err := strip.Metadata(worker())
	if d := cmp.Diff(any(bare), got); d != "" || err != nil {
		t.Errorf("metadata: %v %s", err, d)
	}
	bare.Spec.Command, bare.Spec.Env = nil, nil
	got, err = strip.Program(worker())
	if d := cmp.Diff(any(bare), got); d != "" || err != nil {
		t.Errorf("program: %v %s", err, d)
	}
	gone := cache.DeletedFinalStateUnknown{Key: "storm/w"}
	if got, err := strip.Program(gone); got != any(gone) || err != nil {
		t.Errorf("what is gone: %v, %v", got, err)
	}
}
