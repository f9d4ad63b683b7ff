package admission

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestFinalizers: as many as anybody needs, and no more.
func TestFinalizers(t *testing.T) {
	with := func(obj client.Object, n int) client.Object {
		finalizers := []string{api.WorkerFinalizer}
		for i := range n - 1 {
			finalizers = append(finalizers, fmt.Sprintf("example.com/%d", i))
		}
		obj.SetFinalizers(finalizers)
		return obj
	}
	w := boundWorker(t, "final", nodeA)
	const words = "metadata.finalizers must have 16 items at most"
	check(t, admin, []attempt{
		{"a worker with 16", try(with(worker("many"), 16)), ""},
		{"a worker with 17", try(with(worker("many"), 17)), words},
		{"a profile with 17", try(with(profileOf("many"), 17)), words},
		{"17 later on", change(w, `{"metadata":{"finalizers":["stormcell.dev/worker","a/0","a/1","a/2","a/3","a/4","a/5","a/6","a/7","a/8","a/9","b/0","b/1","b/2","b/3","b/4","b/5"]}}`), words},
	})
}
