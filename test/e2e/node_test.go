//go:build e2e

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// anyNode is a node with an agent, always the same.
func anyNode(t *testing.T) string {
	t.Helper()
	var agents corev1.PodList
	if err := cluster.List(t.Context(), &agents, client.InNamespace(api.SystemNamespace), agentPods); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]bool{}
	for i := range agents.Items {
		nodes[agents.Items[i].Spec.NodeName] = true
	}
	if len(nodes) == 0 {
		t.Fatal("no node-agent runs in this cluster")
	}
	return slices.Min(slices.Collect(maps.Keys(nodes)))
}

// onNode binds a worker to a node.
func onNode(node string) func(*api.StormWorkerSpec) {
	return func(spec *api.StormWorkerSpec) { spec.NodeName = node }
}

// hostname is the label by which a node can be selected.
func hostname(t *testing.T, node string) string {
	t.Helper()
	var n corev1.Node
	if err := cluster.Get(t.Context(), client.ObjectKey{Name: node}, &n); err != nil {
		t.Fatal(err)
	}
	return n.Labels[corev1.LabelHostname]
}

// create and destroy are a feature's first and last steps.
func create(o client.Object) features.Func {
	return step(func(t *testing.T) {
		if err := cluster.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	})
}

func destroy(o client.Object) features.Func {
	return func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		if err := client.IgnoreNotFound(cluster.Delete(ctx, o)); err != nil {
			t.Error(err)
		}
		return ctx
	}
}

// countOn counts what is of workers on a node and begins with a prefix.
func countOn(t *testing.T, node, prefix string) (count int) {
	t.Helper()
	all, err := onNodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range all {
		if strings.HasPrefix(line, node+": "+prefix) {
			count++
		}
	}
	return count
}

func TestDrainedNode(t *testing.T) {
	node := anyNode(t)
	runs, late := aWorker("runs", onNode(node)), aWorker("late", func(spec *api.StormWorkerSpec) {
		spec.NodeSelector = map[string]string{corev1.LabelHostname: hostname(t, node)}
		// The node may be of a control plane, as a kind cluster's first one is.
		spec.Tolerations = []api.Toleration{{Key: "node-role.kubernetes.io/control-plane", Operator: api.TolerationExists}}
	})
	testenv.Test(t, features.New("kubectl drain").
		Assess("a worker runs on the node", step(func(t *testing.T) { waitFor(t, apply(t, runs), api.ReasonRunning) })).
		Assess("it runs on while the node is drained", step(func(t *testing.T) {
			before := processOf(t, runs)
			// The manager stays: where there is one node, it has nowhere to go.
			kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "60s",
				"--pod-selector", "app.kubernetes.io/component!=manager")
			expect(t).Expect(processOf(t, runs)).To(Equal(before))
		})).
		Assess("a new one that wants this node waits", step(func(t *testing.T) {
			t.Log(waitFor(t, apply(t, late), api.ReasonNoNodeFits).Message)
		})).
		Assess("it starts when the node is back", step(func(t *testing.T) {
			kubectl(t, "uncordon", node)
			waitFor(t, late, api.ReasonRunning)
		})).
		Teardown(step(func(t *testing.T) { kubectl(t, "uncordon", node) })).
		Feature())
}

// TestLostNode: the agent of a node falls silent, as when the node is cut off,
// and comes back.
func TestLostNode(t *testing.T) {
	node := anyNode(t)
	w := aWorker("stays", onNode(node))
	var before string
	testenv.Test(t, features.New("a node is lost").
		Assess("its worker's state is unknown, and it runs on", step(func(t *testing.T) {
			waitFor(t, apply(t, w), api.ReasonRunning)
			before = processOf(t, w)
			keepAgentsAway(t, node)
			g := expect(t)
			lost := waitFor(t, w, api.ReasonNodeLost)
			g.Expect(lost.Status).To(Equal(metav1.ConditionUnknown))
			g.Expect(processOf(t, w)).To(Equal(before))
			t.Log(lost.Message)
		})).
		Assess("it is adopted when the node is back", step(func(t *testing.T) {
			letAgentsBack(t)
			waitFor(t, w, api.ReasonRunning)
			g := expect(t)
			g.Expect(processOf(t, w)).To(Equal(before))
			g.Expect(w.Status.RestartCount).To(BeZero())
		})).
		Teardown(step(letAgentsBack)).
		Feature())
}

// TestGoneNode: a worker's object goes with the Node, and not before.
func TestGoneNode(t *testing.T) {
	const name = "stormcell-e2e-gone"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: api.LeaseName(name)},
		Spec:       coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: time.Now()}},
	}
	w := aWorker("held", onNode(name))
	testenv.Test(t, features.New("a node is gone").
		Setup(create(node)).Setup(create(lease)).
		Assess("the worker of a machine that burned is lost", step(func(t *testing.T) {
			waitFor(t, apply(t, w), api.ReasonNodeLost)
		})).
		Assess("its object stays when it is deleted, for the machine may be back", step(func(t *testing.T) {
			g := expect(t)
			g.Expect(cluster.Delete(t.Context(), w)).To(Succeed())
			expect(t).Consistently(func() error {
				return cluster.Get(t.Context(), client.ObjectKeyFromObject(w), w)
			}, "2s").Should(Succeed())
		})).
		Assess("it goes when the Node is deleted", step(func(t *testing.T) {
			g := expect(t)
			g.Expect(cluster.Delete(t.Context(), node)).To(Succeed())
			g.Eventually(func() bool {
				return errors.IsNotFound(cluster.Get(t.Context(), client.ObjectKeyFromObject(w), w))
			}).Should(BeTrue())
		})).
		Teardown(destroy(node)).Teardown(destroy(lease)).
		Feature())
}
