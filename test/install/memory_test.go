package install

import (
	"os"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestMemoryLimits: each daemon has a limit on its memory, and is told of it.
func TestMemoryLimits(t *testing.T) {
	content, err := os.ReadFile(install)
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, string(content))
	for _, name := range []string{"Deployment stormcell-manager", "DaemonSet stormcell-node-agent"} {
		u := all[name]
		if u == nil {
			t.Fatalf("no %s among %d objects", name, len(all))
		}
		containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		if err != nil || len(containers) != 1 {
			t.Fatalf("%s has %d containers, %v", name, len(containers), err)
		}
		container := containers[0].(map[string]any)
		if limit, _, _ := unstructured.NestedString(container, "resources", "limits", "memory"); limit == "" {
			t.Errorf("%s has no limit", name)
		}
		env, _, _ := unstructured.NestedSlice(container, "env")
		told := slices.ContainsFunc(env, func(v any) bool {
			resource, _, _ := unstructured.NestedString(v.(map[string]any), "valueFrom", "resourceFieldRef", "resource")
			return v.(map[string]any)["name"] == "MEMORY_LIMIT" && resource == "limits.memory"
		})
		if !told {
			t.Errorf("%s is not told of its limit: %v", name, env)
		}
	}
}
