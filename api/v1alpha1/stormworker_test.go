package v1alpha1_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func env(words ...string) []any {
	var list []any
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		list = append(list, map[string]any{"name": name, "value": value})
	}
	return list
}

func limit(name string, value any) map[string]any {
	return map[string]any{"limits": map[string]any{name: value}}
}

func TestStormWorkerRefused(t *testing.T) {
	c := newClient(t)
	long := strings.Repeat("a", 300)
	tests := []struct {
		name, field string
		value       any // nil removes the field
		want        string
	}{
		{"no topology", "topologyID", nil, "Required value"},
		{"topology leads out", "topologyID", "../x", "must be a topology id"},
		{"topology is dots", "topologyID", "..", "must be a topology id"},
		{"topology with a slash", "topologyID", "a/b", "must be a topology id"},
		{"topology with a line feed", "topologyID", "a\nb", "must be a topology id"},
		{"topology ends in a line feed", "topologyID", "a\n", "must be a topology id"},
		{"topology empty", "topologyID", "", "must be a topology id"},
		{"topology too long", "topologyID", long, "Too long"},
		{"no port", "port", nil, "Required value"},
		{"port 0", "port", int64(0), "greater than or equal to 1"},
		{"port negative", "port", int64(-1), "greater than or equal to 1"},
		{"port 65536", "port", int64(65536), "less than or equal to 65535"},
		{"port is text", "port", "6700", "must be of type integer"},
		{"worker id no UUID", "workerID", "worker-1", "must be a UUID in lower case"},
		{"worker id in upper case", "workerID", "1A23CA4B-6062-4D08-8AC3-B09E7D35E7CB", "must be a UUID in lower case"},
		{"worker id empty", "workerID", "", "must be a UUID in lower case"},
		{"worker id and more", "workerID", "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb0", "Too long"},
		{"node name in upper case", "nodeName", "Node1", "must be a node name"},
		{"node name leads out", "nodeName", "../n1", "must be a node name"},
		{"node name empty", "nodeName", "", "must be a node name"},
		{"no user", "user", nil, "Required value"},
		{"user root", "user", "root", "must not be root"},
		{"user is a uid", "user", "0", "must be a user name"},
		{"user is an option", "user", "-c", "must be a user name"},
		{"user with a colon", "user", "storm:x", "must be a user name"},
		{"user empty", "user", "", "must be a user name"},
		{"user too long", "user", strings.Repeat("u", 33), "Too long"},
		{"image empty", "image", "", "must be an image name"},
		{"image with a digest", "image", "storm@sha256:" + strings.Repeat("a", 64), "must be an image name"},
		{"image repository in upper case", "image", "Storm:1", "must be an image name"},
		{"image leads out", "image", "../x", "must be an image name"},
		{"image leads out within", "image", "a/../x", "must be an image name"},
		{"image is dots", "image", "..", "must be an image name"},
		{"image is a slash", "image", "/", "must be an image name"},
		{"image is a path", "image", "/etc/passwd", "must be an image name"},
		{"image is a dash", "image", "-", "must be an image name"},
		{"image is an option", "image", "--privileged", "must be an image name"},
		{"image with an empty part", "image", "a//b", "must be an image name"},
		{"image ends in a slash", "image", "storm/", "must be an image name"},
		{"image of a tag that is an option", "image", "storm:-x", "must be an image name"},
		{"image with a blank", "image", "storm rhel7", "must be an image name"},
		{"image with two tags", "image", "storm:1:2", "must be an image name"},
		{"image ends in a line feed", "image", "storm:1\n", "must be an image name"},
		{"image too long", "image", long, "Too long"},
		{"runtime unknown", "runtime", "podman", `supported values: "Runc", "Docker"`},
		{"no command", "command", nil, "Required value"},
		{"command empty", "command", []any{}, "at least 1 items"},
		{"command of an empty program", "command", []any{"", "x"}, "must name a program"},
		{"command with NUL", "command", []any{"java", "a\x00b"}, "must not hold a NUL"},
		{"env name with a dash", "env", env("A-B=1"), "must be a shell variable name"},
		{"env name begins with a digit", "env", env("1A=1"), "must be a shell variable name"},
		{"env name empty", "env", env("=1"), "must be a shell variable name"},
		{"env name with a line feed", "env", env("A\n=1"), "must be a shell variable name"},
		{"env twice", "env", env("A=1", "A=2"), "Duplicate value"},
		{"env value with NUL", "env", env("A=1\x002"), "must not hold a NUL"},
		{"cpu negative", "resources", limit("cpu", "-1"), "must be at least 10m"},
		{"cpu zero", "resources", limit("cpu", int64(0)), "must be at least 10m"},
		{"cpu too small", "resources", limit("cpu", "9m"), "must be at least 10m"},
		{"cpu no quantity", "resources", limit("cpu", "two"), "should match"},
		{"memory negative", "resources", limit("memory", "-2Gi"), "must be at least 4Mi"},
		{"memory zero", "resources", limit("memory", "0"), "must be at least 4Mi"},
		{"memory too small", "resources", limit("memory", "4095Ki"), "must be at least 4Mi"},
		{"storage too small", "resources", limit("ephemeralStorage", "1023Ki"), "must be at least 1Mi; omit it for the node's default"},
		{"storage negative", "resources", limit("ephemeralStorage", "-1Gi"), "must be at least 1Mi"},
		{"memory in thousandths", "resources", limit("memory", "100m"), "must be at least 4Mi"},
		{"zone negative", "numaZone", int64(-1), "greater than or equal to 0"},
		{"label too long", "nodeSelector", map[string]any{"disk": strings.Repeat("x", 64)}, "must be labels"},
		{"toleration of no key", "tolerations", []any{map[string]any{"operator": "Equal", "value": "x"}}, "must have operator Exists"},
		{"toleration of an unknown effect", "tolerations", []any{map[string]any{"key": "a", "effect": "Never"}}, "supported values"},
		{"restart policy unknown", "restartPolicy", "Sometimes", "supported values"},
		{"grace period negative", "terminationGracePeriodSeconds", int64(-1), "greater than or equal to 0"},
		{"grace period too long", "terminationGracePeriodSeconds", int64(3601), "less than or equal to 3600"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := worker("refused")
			setField(t, w, tt.value, tt.field)
			err := c.Create(context.Background(), w)
			wantRefused(t, err, "spec."+tt.field, tt.want)
		})
	}
}

// TestStormWorkerSize: what a worker's program reads has a limit as a whole, so that no
// number of workers fills the memory of the daemons with it.
func TestStormWorkerSize(t *testing.T) {
	c := newClient(t)
	const limit, word = 64 << 10, 32_000
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	words := func(size int) (all []any) {
		for ; size > 0; size -= word {
			all = append(all, strings.Repeat("x", min(size, word)))
		}
		return all
	}
	variables := func(size int) (all []any) {
		for i, value := range words(size) {
			all = append(all, map[string]any{"name": letters[i : i+1], "value": value})
		}
		return all
	}
	accents := strings.Repeat("é", word)
	for _, tt := range []struct {
		name, field string
		value       []any
		fits        bool
	}{
		{"as long as can be", "command", words(limit), true},
		{"too long", "command", words(limit + 1), false},
		{"far too long", "command", words(1300 << 10), false},
		{"letters of two bytes", "command", []any{accents, accents}, false},
		{"as long as can be", "env", variables(limit - 3), true},
		{"too long", "env", variables(limit - 2), false},
		{"far too long", "env", variables(1300 << 10), false},
		{"a variable without value", "env", append(variables(limit-3), map[string]any{"name": "X"}), false},
		{"letters of two bytes", "env", []any{map[string]any{"name": "A", "value": accents}, map[string]any{"name": "B", "value": accents}}, false},
	} {
		t.Run(tt.field+" "+tt.name, func(t *testing.T) {
			w := worker("size-" + tt.field)
			setField(t, w, tt.value, tt.field)
			if tt.fits {
				create(t, c, w)
				return
			}
			wantRefused(t, c.Create(context.Background(), w), "spec."+tt.field, "must have 64 KiB at most")
		})
	}
}

// TestStatusMessageTooLong: nor does an agent that has been taken over.
func TestStatusMessageTooLong(t *testing.T) {
	c := newClient(t)
	w := worker("talkative")
	create(t, c, w)
	long := map[string]any{
		"type": "Ready", "status": "False", "reason": "X", "message": strings.Repeat("é", 1025), "lastTransitionTime": "2026-01-01T00:00:00Z",
	}
	if err := unstructured.SetNestedSlice(w.Object, []any{long}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, c.Status().Update(context.Background(), w), "status.conditions", "messages have 1024 characters at most")
}

func setField(t *testing.T, obj *unstructured.Unstructured, value any, field string) {
	t.Helper()
	if value == nil {
		unstructured.RemoveNestedField(obj.Object, "spec", field)
		return
	}
	if err := unstructured.SetNestedField(obj.Object, value, "spec", field); err != nil {
		t.Fatal(err)
	}
}

// fullWorker has every field of spec that may not change.
func fullWorker(name string) *unstructured.Unstructured {
	w := worker(name)
	spec := w.Object["spec"].(map[string]any)
	spec["workerID"] = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
	spec["nodeName"] = "n1"
	spec["runtime"] = "Runc"
	spec["env"] = env("A=1")
	spec["resources"] = limit("cpu", "1")
	spec["numaZone"] = int64(0)
	spec["nodeSelector"] = map[string]any{"disk": "ssd"}
	spec["tolerations"] = []any{map[string]any{"key": "dedicated", "operator": "Exists"}}
	return w
}

// TestStormWorkerRulesNameEveryField finds a field that was added to the spec
// without the rule that fixes it. CEL cannot say "all fields but two": objects
// have no macros, and a rule for the whole spec could not name the field. The
// shorter "self.?image == oldSelf.?image" is over the budget of rules.
func TestStormWorkerRulesNameEveryField(t *testing.T) {
	content, err := os.ReadFile("../../config/crd/bases/stormcell.dev_stormworkers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties map[string]schema
		Required   []string
		Rules      []struct{ FieldPath, Rule, Message string } `json:"x-kubernetes-validations"`
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatal(err)
	}
	type rule struct{ Rule, Message string }
	want, got := map[string]rule{}, map[string]rule{}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	for field := range spec.Properties {
		changeable := field == "restartPolicy" || field == "terminationGracePeriodSeconds"
		same := "self.F == oldSelf.F"
		if !slices.Contains(spec.Required, field) {
			same = "has(self.F) == has(oldSelf.F) && (!has(self.F) || self.F == oldSelf.F)"
		}
		if !changeable {
			want["."+field] = rule{strings.ReplaceAll(same, "F", field), "cannot be changed; delete the worker and create another"}
		}
	}
	for _, r := range spec.Rules {
		got[r.FieldPath] = rule{r.Rule, r.Message}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStormWorkerImmutable(t *testing.T) {
	c := newClient(t)
	full, bare := fullWorker("fixed-full"), worker("fixed-bare")
	setField(t, bare, nil, "image")
	create(t, c, full)
	create(t, c, bare)
	changed := map[string]any{
		"topologyID": "other",
		"port":       int64(6701),
		"workerID":   "ffffffff-6062-4d08-8ac3-b09e7d35e7cb",
		"nodeName":   "n2",
		"user":       "alice",
		"image":      "storm/rhel7:other",
		"runtime":    "Docker",
		"command":    []any{"java"},
		"env":        env("A=2"),
		"resources":  limit("cpu", "2"),
		"numaZone":   int64(1),

		"nodeSelector": map[string]any{"disk": "hdd"},
		"tolerations":  []any{map[string]any{"operator": "Exists"}},
	}
	for field, value := range changed {
		t.Run("change "+field, func(t *testing.T) {
			w := full.DeepCopy()
			setField(t, w, value, field)
			wantRefused(t, c.Update(context.Background(), w), "spec."+field, "cannot be changed")
		})
	}
	for _, field := range []string{"workerID", "nodeName", "image", "runtime", "env", "resources", "numaZone", "nodeSelector", "tolerations"} {
		t.Run("remove "+field, func(t *testing.T) {
			w := full.DeepCopy()
			setField(t, w, nil, field)
			wantRefused(t, c.Update(context.Background(), w), "spec."+field, "cannot be changed")
		})
	}
	for _, field := range []string{"workerID", "nodeName", "image", "runtime", "env", "resources", "numaZone", "nodeSelector", "tolerations"} {
		t.Run("add "+field, func(t *testing.T) {
			w := bare.DeepCopy()
			setField(t, w, changed[field], field)
			wantRefused(t, c.Update(context.Background(), w), "spec."+field, "cannot be changed")
		})
	}
	t.Run("restartPolicy and grace period may change", func(t *testing.T) {
		w := full.DeepCopy()
		setField(t, w, "Never", "restartPolicy")
		setField(t, w, int64(60), "terminationGracePeriodSeconds")
		if err := c.Update(context.Background(), w); err != nil {
			t.Fatal(err)
		}
		if got := w.GetGeneration(); got != 2 {
			t.Errorf("generation %d, want 2", got)
		}
	})
}

func TestStormWorkerDefaults(t *testing.T) {
	c := newClient(t)
	u := worker("defaults")
	create(t, c, u)
	var w api.StormWorker
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &w); err != nil {
		t.Fatal(err)
	}
	if w.Spec.Runtime != "" || w.Spec.RestartPolicy != api.RestartAlways {
		t.Errorf("runtime %q, restartPolicy %q", w.Spec.Runtime, w.Spec.RestartPolicy)
	}
	if g := w.Spec.TerminationGracePeriodSeconds; g == nil || *g != 3 {
		t.Errorf("terminationGracePeriodSeconds %v, want 3", g)
	}
	if w.ID() != string(w.UID) || w.ContainerID() != "6700-"+string(w.UID) {
		t.Errorf("id %q, container %q", w.ID(), w.ContainerID())
	}
}

// TestStormWorkerTyped checks that the Go types write what the server accepts,
// also of an object that kubectl made.
func TestStormWorkerTyped(t *testing.T) {
	c := newClient(t)
	u := worker("by-kubectl")
	create(t, c, u)
	var bare api.StormWorker
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &bare); err != nil {
		t.Fatal(err)
	}
	bare.Spec.RestartPolicy = api.RestartNever
	if err := c.Update(context.Background(), &bare); err != nil {
		t.Errorf("update of an object without optional fields: %v", err)
	}

	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: "typed", Namespace: metav1.NamespaceDefault},
		Spec:       api.StormWorkerSpec{TopologyID: "t", Port: 6700, User: "storm", Command: []string{"true"}},
	}
	create(t, c, w)
	w.Spec.RestartPolicy = api.RestartNever
	if err := c.Update(context.Background(), w); err != nil {
		t.Errorf("update by the typed client: %v", err)
	}
}

func TestStormWorkerStaysBound(t *testing.T) {
	c := newClient(t)
	u := worker("bound")
	create(t, c, u)
	var w api.StormWorker
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &w); err != nil {
		t.Fatal(err)
	}
	w.Status.Image = &api.WorkerImage{Tag: "a", ManifestDigest: "sha256:1"}
	mustUpdateStatus(t, c, &w)
	w.Status.Image.ManifestDigest = "sha256:2"
	mustUpdateStatus(t, c, &w) // not bound yet: it may be pinned anew
	w.Status.NodeName, w.Status.Runtime = "n1", api.RuntimeDocker
	mustUpdateStatus(t, c, &w)

	for name, change := range map[string]func(*api.StormWorker){
		"other node": func(w *api.StormWorker) { w.Status.NodeName = "n2" },
		"no node":    func(w *api.StormWorker) { w.Status.NodeName = "" },
	} {
		t.Run(name, func(t *testing.T) {
			moved := w.DeepCopy()
			change(moved)
			wantRefused(t, c.Status().Update(context.Background(), moved), "status.nodeName", "stays bound")
		})
	}
	for name, runtime := range map[string]api.Runtime{"other runtime": api.RuntimeRunc, "no runtime": ""} {
		t.Run(name, func(t *testing.T) {
			moved := w.DeepCopy()
			moved.Status.Runtime = runtime
			wantRefused(t, c.Status().Update(context.Background(), moved), "status.runtime", "keeps its runtime")
		})
	}
	t.Run("other image", func(t *testing.T) {
		moved := w.DeepCopy()
		moved.Status.Image.ManifestDigest = "sha256:3"
		wantRefused(t, c.Status().Update(context.Background(), moved), "status.image", "stays pinned")
	})
	t.Run("no image", func(t *testing.T) {
		moved := w.DeepCopy()
		moved.Status.Image = nil
		wantRefused(t, c.Status().Update(context.Background(), moved), "status.image", "stays pinned")
	})
	t.Run("another field", func(t *testing.T) {
		w.Status.RestartCount = 1
		mustUpdateStatus(t, c, &w)
	})
}

func mustUpdateStatus(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Status().Update(context.Background(), obj); err != nil {
		t.Fatal(err)
	}
}

// TestStormWorkerWatchByNode checks what agents rely on: a watch of one node
// sees a worker appear when it is bound there.
func TestStormWorkerWatchByNode(t *testing.T) {
	c := newClient(t)
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	watcher, err := c.Watch(ctx, &api.StormWorkerList{}, client.MatchingFields{"status.nodeName": "watched"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	for _, name := range []string{"elsewhere", "here"} {
		u := worker("watch-" + name)
		create(t, c, u)
		var w api.StormWorker
		if err := c.Get(ctx, client.ObjectKeyFromObject(u), &w); err != nil {
			t.Fatal(err)
		}
		w.Status.NodeName = map[string]string{"elsewhere": "n1", "here": "watched"}[name]
		mustUpdateStatus(t, c, &w)
	}
	event, ok := <-watcher.ResultChan()
	if !ok {
		t.Fatal("the watch ended without an event")
	}
	if got := event.Object.(*api.StormWorker); event.Type != "ADDED" || got.Name != "watch-here" {
		t.Errorf("%s %s, want ADDED watch-here", event.Type, got.Name)
	}
	var byTopology api.StormWorkerList
	if err := c.List(ctx, &byTopology, client.MatchingFields{"spec.topologyID": "no-such"}); err != nil || len(byTopology.Items) != 0 {
		t.Errorf("list by topology: %d items, %v", len(byTopology.Items), err)
	}
}
