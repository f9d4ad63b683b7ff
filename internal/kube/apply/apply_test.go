package apply_test

import (
	stderrors "errors"
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/test/cluster"
)

var testCluster *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) { testCluster = c }))
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newProfile(t *testing.T, c client.Client, name string) *api.StormProfile {
	t.Helper()
	p := &api.StormProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
		Spec:       api.StormProfileSpec{WorkerName: "w", Action: api.ProfileJStack},
	}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestStatus: a program writes its own part of the status, and takes back what
// it says no more.
func TestStatus(t *testing.T) {
	c := newClient(t)
	p := newProfile(t, c, "parts")
	first := p.DeepCopy()
	write := func(owner client.FieldOwner, part *api.StormProfileStatus) (version string) {
		t.Helper()
		version, err := apply.Status(t.Context(), c, owner, p, part)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			t.Fatal(err)
		}
		return version
	}
	write("one", &api.StormProfileStatus{NodeName: "n1", Output: "said"})
	write("other", &api.StormProfileStatus{Files: []string{"heap"}})
	version := write("one", &api.StormProfileStatus{NodeName: "n1"})
	if s := p.Status; s.NodeName != "n1" || s.Output != "" || len(s.Files) != 1 {
		t.Errorf("status %+v", s)
	}
	if version != p.ResourceVersion {
		t.Errorf("made version %q, the object has %q", version, p.ResourceVersion)
	}
	if !apply.Older(first, version) || apply.Older(p, version) || apply.Older(first, "") {
		t.Errorf("older than %s: %t of %s, %t of %s, and %t than no version", version,
			apply.Older(first, version), first.ResourceVersion, apply.Older(p, version), p.ResourceVersion, apply.Older(first, ""))
	}
}

// TestStatusOfWhatHasChanged: nothing is written over what the writer has not
// seen, and what is said of an object is not said of the next one of its name.
func TestStatusOfWhatHasChanged(t *testing.T) {
	c := newClient(t)
	p := newProfile(t, c, "changed")
	write := func() error {
		_, err := apply.Status(t.Context(), c, "one", p, &api.StormProfileStatus{Output: "said"})
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.IsConflict(err) {
		t.Errorf("an older version: %v, want a conflict", err)
	}
	if err := c.Delete(t.Context(), p.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.IsNotFound(err) {
		t.Errorf("an object that is gone: %v, want not found", err)
	}
	next := newProfile(t, c, "changed")
	if err := write(); !errors.IsConflict(err) {
		t.Errorf("another object of the name: %v, want a conflict", err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(next), next); err != nil || next.Status.Output != "" {
		t.Errorf("%v; it says %q", err, next.Status.Output)
	}
}

func TestOutcome(t *testing.T) {
	resource, broken := schema.GroupResource{Resource: "stormprofiles"}, stderrors.New("the API server is away")
	for _, tt := range []struct {
		name  string
		err   error
		again bool
		want  error
	}{
		{"written", nil, false, nil},
		{"conflict", fmt.Errorf("apply: %w", errors.NewConflict(resource, "p", nil)), true, nil},
		{"gone", fmt.Errorf("apply: %w", errors.NewNotFound(resource, "p")), false, nil},
		{"else", broken, false, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := apply.Outcome(tt.err)
			if again := result.RequeueAfter > 0; again != tt.again || !stderrors.Is(err, tt.want) {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}
