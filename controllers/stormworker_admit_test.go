package controllers

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/store/allowlist"
)

// imageWith is a StormImage whose conditions Allowed and Resolved have some
// status ("" for none).
func imageWith(digest string, allowed, resolved metav1.ConditionStatus) api.StormImage {
	i := *newImage("a:1")
	i.Status.ManifestDigest = digest
	for t, s := range map[string]metav1.ConditionStatus{api.ImageAllowed: allowed, api.ImageResolved: resolved} {
		if s != "" {
			i.Status.Conditions = append(i.Status.Conditions, metav1.Condition{Type: t, Status: s, Reason: "Why", Message: "so"})
		}
	}
	return i
}

func TestRuntimeOf(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		node                  string
		spec, status, cluster api.Runtime
		want                  api.Runtime
	}{
		{"nobody says anything", "", "", "", "", api.RuntimeRunc},
		{"the cluster's default", "", "", "", api.RuntimeDocker, api.RuntimeDocker},
		{"the worker's own", "", api.RuntimeRunc, "", api.RuntimeDocker, api.RuntimeRunc},
		{"the default has changed before it was bound", "", "", api.RuntimeRunc, api.RuntimeDocker, api.RuntimeDocker},
		{"the default has changed since it was bound", "n1", "", api.RuntimeRunc, api.RuntimeDocker, api.RuntimeRunc},
		{"bound by a manager that knew only Runc", "n1", api.RuntimeRunc, "", api.RuntimeDocker, api.RuntimeRunc},
	} {
		w := newWorker("w", "", 6700)
		w.Spec.Runtime, w.Status.Runtime, w.Status.NodeName = tt.spec, tt.status, tt.node
		if got := runtimeOf(w, tt.cluster); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestAdmitWorker(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	rules := allowlist.Rules{Allowed: []string{"a:1", "b:1"}, Default: "a:1"}
	pinned := &api.WorkerImage{Tag: "a:1", ManifestDigest: "sha256:1"}
	old := &api.WorkerImage{Tag: "gone:1", ManifestDigest: "sha256:0"}
	waiting := func(image string) *api.StormWorker { return newWorker("w", image, 6700) }
	onNode := func(image *api.WorkerImage, started bool) *api.StormWorker {
		w := newWorker("w", "", 6700)
		w.Status.NodeName, w.Status.Image = "n1", image
		if started {
			w.Status.StartedAt = &metav1.Time{Time: noon}
		}
		return w
	}
	docker := func(w *api.StormWorker) *api.StormWorker {
		w.Spec.Runtime = api.RuntimeDocker
		return w
	}
	dockers := &api.WorkerImage{Tag: "docker.io/library/a:1"}
	registry := allowlist.Docker{Allowed: []string{dockers.Tag}}
	tests := []struct {
		name   string
		worker *api.StormWorker
		rules  imageRules
		images []api.StormImage
		status metav1.ConditionStatus
		reason string
		image  *api.WorkerImage
	}{
		{"image ready", waiting("a:1"), rules, []api.StormImage{imageWith("sha256:1", yes, yes)}, yes, api.ReasonAdmitted, pinned},
		{"default image", waiting(""), rules, []api.StormImage{imageWith("sha256:1", yes, yes)}, yes, api.ReasonAdmitted, pinned},
		{"store away, answer kept", waiting("a:1"), rules, []api.StormImage{imageWith("sha256:1", yes, unknown)}, yes, api.ReasonAdmitted, pinned},
		{"store away from the start", waiting("a:1"), rules, []api.StormImage{imageWith("", yes, unknown)}, no, api.ReasonImageNotResolved, nil},
		{"image broken", waiting("a:1"), rules, []api.StormImage{imageWith("", yes, no)}, no, api.ReasonImageNotResolved, nil},
		{"second of two StormImages is ready", waiting("a:1"), rules, []api.StormImage{imageWith("", "", ""), imageWith("sha256:1", yes, yes)}, yes, api.ReasonAdmitted, pinned},
		{"no StormImage yet", waiting("a:1"), rules, nil, no, api.ReasonImagePending, nil},
		{"not looked at yet", waiting("a:1"), rules, []api.StormImage{imageWith("", "", "")}, no, api.ReasonImagePending, nil},
		{"StormImage behind the allowlist", waiting("a:1"), rules, []api.StormImage{imageWith("", no, unknown)}, no, api.ReasonImagePending, nil},
		{"not allowed", waiting("c:1"), rules, nil, no, api.ReasonImageNotAllowed, nil},
		{"malformed, with star", waiting("A:1"), allowlist.Rules{Allowed: []string{"*"}}, nil, no, api.ReasonMalformedName, nil},
		{"nothing allowed", waiting("a:1"), allowlist.Rules{}, nil, no, api.ReasonNoImagesAllowed, nil},
		{"no default", waiting(""), allowlist.Rules{Allowed: []string{"*"}}, nil, no, api.ReasonNoImage, nil},
		{"Docker, of no StormImage", docker(waiting(dockers.Tag)), registry, nil, yes, api.ReasonAdmitted, dockers},
		{"Docker, no image", docker(waiting("")), registry, nil, no, api.ReasonNoImage, nil},
		{"Docker, not allowed", docker(waiting("docker.io/library/c:1")), registry, nil, no, api.ReasonImageNotAllowed, nil},
		{"Docker, the name of the store's image", docker(waiting("a:1")), registry, nil, no, api.ReasonImageNameNotFull, nil},
		{"Docker, malformed", docker(waiting("a@sha256:1")), registry, nil, no, api.ReasonMalformedName, nil},
		{"Docker, nothing allowed", docker(waiting(dockers.Tag)), allowlist.Docker{}, nil, no, api.ReasonNoImagesAllowed, nil},
		{"Docker, bound", docker(onNode(dockers, false)), registry, nil, yes, api.ReasonAdmitted, dockers},
		{"Docker, bound by the store's allowlist, not started", docker(onNode(&api.WorkerImage{Tag: "a:1"}, false)), registry, nil, no, api.ReasonImageNameNotFull, &api.WorkerImage{Tag: "a:1"}},
		{"Docker, bound by the store's allowlist, started", docker(onNode(&api.WorkerImage{Tag: "a:1"}, true)), registry, nil, yes, api.ReasonImageNotAllowed, &api.WorkerImage{Tag: "a:1"}},
		{"bound, whatever the image does now", onNode(pinned, false), rules, nil, yes, api.ReasonAdmitted, pinned},
		{"bound, no longer allowed, not started", onNode(old, false), rules, nil, no, api.ReasonImageNotAllowed, old},
		{"bound, no longer allowed, started", onNode(old, true), rules, nil, yes, api.ReasonImageNotAllowed, old},
		{"bound, nothing allowed any more, started", onNode(pinned, true), allowlist.Rules{}, nil, yes, api.ReasonImageNotAllowed, pinned},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := admitWorker(tt.worker, runtimeOf(tt.worker, api.RuntimeRunc), tt.rules, tt.images)
			if got.condition.Status != tt.status || got.condition.Reason != tt.reason {
				t.Errorf("%s %s, want %s %s", got.condition.Status, got.condition.Reason, tt.status, tt.reason)
			}
			if (got.image == nil) != (tt.image == nil) || got.image != nil && *got.image != *tt.image {
				t.Errorf("image %+v, want %+v", got.image, tt.image)
			}
			if got.condition.Message == "" || strings.HasSuffix(got.condition.Message, ".") {
				t.Errorf("message %q", got.condition.Message)
			}
		})
	}
}
