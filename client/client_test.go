package client_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	apply "github.com/stormcell/stormcell/client/applyconfiguration/api/v1alpha1"
	"github.com/stormcell/stormcell/client/clientset/versioned"
	"github.com/stormcell/stormcell/client/clientset/versioned/fake"
	"github.com/stormcell/stormcell/client/informers/externalversions"
	"github.com/stormcell/stormcell/test/cluster"
)

var testCluster *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) { testCluster = c }))
}

const (
	namespace = metav1.NamespaceDefault
	topology  = "wc1-2-1608581491"
	tag       = "storm/rhel7:dev_current"
)

var nimbus = metav1.ApplyOptions{FieldManager: "nimbus"}

func newClient(t *testing.T) versioned.Interface {
	t.Helper()
	clients, err := versioned.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// worker is a valid worker of a topology.
func worker(name, topologyID string) *apply.StormWorkerApplyConfiguration {
	return apply.StormWorker(name, namespace).WithSpec(apply.StormWorkerSpec().
		WithTopologyID(topologyID).WithPort(6700).WithUser("storm").WithImage(tag).WithCommand("java", "-version").
		WithEnv(apply.EnvVar().WithName("A").WithValue("1"), apply.EnvVar().WithName("B").WithValue("2")))
}

// TestWorker takes one worker through its life.
func TestWorker(t *testing.T) {
	ctx, workers := t.Context(), newClient(t).StormcellV1alpha1().StormWorkers(namespace)
	created, err := workers.Apply(ctx, worker("w", topology), nimbus)
	if err != nil {
		t.Fatal(err)
	}
	again, err := workers.Apply(ctx, worker("w", topology), nimbus)
	if err != nil || again.UID != created.UID || again.ResourceVersion != created.ResourceVersion {
		t.Errorf("the second apply made %s, version %s, of %s, version %s: %v", again.UID, again.ResourceVersion, created.UID, created.ResourceVersion, err)
	}
	if _, err := workers.Apply(ctx, worker("w", "other"), nimbus); !errors.IsInvalid(err) {
		t.Errorf("another topology: %v", err)
	}

	// What a manager owns, it finds again, lists by their keys, too.
	extracted, err := apply.ExtractStormWorker(again, nimbus.FieldManager)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(worker("w", topology), extracted); diff != "" {
		t.Errorf("extracted, against applied:\n%s", diff)
	}

	changes, err := workers.Watch(ctx, metav1.ListOptions{ResourceVersion: again.ResourceVersion, FieldSelector: "spec.topologyID=" + topology})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	bound := apply.StormWorker("w", namespace).WithStatus(apply.StormWorkerStatus().WithNodeName("node-1"))
	if _, err := workers.ApplyStatus(ctx, bound, metav1.ApplyOptions{FieldManager: api.ManagerFieldOwner}); err != nil {
		t.Fatal(err)
	}
	if change := <-changes.ResultChan(); change.Type != watch.Modified || change.Object.(*api.StormWorker).Status.NodeName != "node-1" {
		t.Errorf("saw %v", change)
	}
	if err := workers.Delete(ctx, "w", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if change := <-changes.ResultChan(); change.Type != watch.Deleted {
		t.Errorf("saw %v", change)
	}
	if _, err := workers.Get(ctx, "w", metav1.GetOptions{}); !errors.IsNotFound(err) {
		t.Errorf("after it was deleted: %v", err)
	}
}

// TestClusterScoped: images and nodes belong to no namespace.
func TestClusterScoped(t *testing.T) {
	ctx, stormcell := t.Context(), newClient(t).StormcellV1alpha1()
	image, node := apply.StormImage(api.ImageName(tag)).WithSpec(apply.StormImageSpec().WithTag(tag)), apply.StormNode("node-1")
	if _, err := stormcell.StormImages().Apply(ctx, image, nimbus); err != nil {
		t.Error(err)
	}
	if _, err := stormcell.StormNodes().Apply(ctx, node, nimbus); err != nil {
		t.Error(err)
	}
	for selector, want := range map[string]int{"spec.tag=" + tag: 1, "spec.tag=other": 0} {
		images, err := stormcell.StormImages().List(ctx, metav1.ListOptions{FieldSelector: selector})
		if err != nil || len(images.Items) != want {
			t.Errorf("%d images with %s: %v", len(images.Items), selector, err)
		}
	}
}

// TestInformer: an informer with a field selector knows its objects alone.
func TestInformer(t *testing.T) {
	ctx, clients := t.Context(), newClient(t)
	workers := clients.StormcellV1alpha1().StormWorkers(namespace)
	for name, id := range map[string]string{"mine": "mine-1-1", "other": "other-1-1"} {
		if _, err := workers.Apply(ctx, worker(name, id), nimbus); err != nil {
			t.Fatal(err)
		}
		bound := apply.StormWorker(name, namespace).WithStatus(apply.StormWorkerStatus().WithNodeName("node-of-" + name))
		if _, err := workers.ApplyStatus(ctx, bound, metav1.ApplyOptions{FieldManager: api.ManagerFieldOwner}); err != nil {
			t.Fatal(err)
		}
	}
	for _, selector := range []string{"spec.topologyID=mine-1-1", "status.nodeName=node-of-mine"} {
		t.Run(selector, func(t *testing.T) {
			factory := externalversions.NewSharedInformerFactoryWithOptions(clients, 0, externalversions.WithNamespace(namespace),
				externalversions.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector }))
			informer := factory.Stormcell().V1alpha1().StormWorkers()
			synced := informer.Informer().HasSynced
			factory.Start(t.Context().Done())
			if !cache.WaitForCacheSync(t.Context().Done(), synced) {
				t.Fatal("the cache does not fill")
			}
			got, err := informer.Lister().StormWorkers(namespace).List(labels.Everything())
			if err != nil || len(got) != 1 || got[0].Name != "mine" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// TestFake: the fake clientset merges what is applied, lists by their keys, too.
func TestFake(t *testing.T) {
	ctx, workers := t.Context(), fake.NewClientset().StormcellV1alpha1().StormWorkers(namespace)
	if _, err := workers.Apply(ctx, worker("w", topology), nimbus); err != nil {
		t.Fatal(err)
	}
	more := apply.StormWorker("w", namespace).WithSpec(apply.StormWorkerSpec().WithEnv(apply.EnvVar().WithName("C").WithValue("3")))
	if _, err := workers.Apply(ctx, more, metav1.ApplyOptions{FieldManager: "another"}); err != nil {
		t.Fatal(err)
	}
	got, err := workers.Get(ctx, "w", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []api.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "C", Value: "3"}}
	if diff := cmp.Diff(want, got.Spec.Env); diff != "" {
		t.Error(diff)
	}
	theirs := apply.StormWorker("w", namespace).WithSpec(apply.StormWorkerSpec().WithPort(1))
	if _, err := workers.Apply(ctx, theirs, metav1.ApplyOptions{FieldManager: "another"}); !errors.IsConflict(err) {
		t.Errorf("another manager's field: %v", err)
	}
}

// TestDependencies: who imports the client gets no more than client-go and the
// API.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/stormcell/stormcell/"
	for dep := range strings.FieldsSeq(string(out)) {
		part, ours := strings.CutPrefix(dep, module)
		switch {
		case strings.HasPrefix(dep, "sigs.k8s.io/controller-runtime/"):
		case ours && !strings.HasPrefix(part, "api/") && part != "client" && !strings.HasPrefix(part, "client/"):
		default:
			continue
		}
		t.Errorf("the client depends on %s", dep)
	}
}
