//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// The pods of the daemons.
var (
	agentPods   = client.MatchingLabels{"app.kubernetes.io/name": "stormcell", "app.kubernetes.io/component": "node-agent"}
	managerPods = client.MatchingLabels{"app.kubernetes.io/name": "stormcell", "app.kubernetes.io/component": "manager"}
)

// agentSet is the DaemonSet of the agents.
func agentSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	set := new(appsv1.DaemonSet)
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: api.SystemNamespace, Name: "stormcell-node-agent"}, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// patchAgents changes the pod template of the agents, by a merge patch.
func patchAgents(t *testing.T, template any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Patch(t.Context(), agentSet(t), client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// awaitAgents waits until the DaemonSet is as it shall be on every node.
func awaitAgents(t *testing.T) {
	t.Helper()
	expect(t).Eventually(func() error {
		set := agentSet(t)
		wanted, s := set.Status.DesiredNumberScheduled, set.Status
		if s.ObservedGeneration != set.Generation || s.UpdatedNumberScheduled != wanted || s.NumberReady != wanted {
			return fmt.Errorf("generation %d of %d, %d updated and %d ready of %d nodes",
				s.ObservedGeneration, set.Generation, s.UpdatedNumberScheduled, s.NumberReady, wanted)
		}
		return nil
	}).Should(Succeed())
}

// keepAgentsAway ends the agent of a node and lets no other come.
func keepAgentsAway(t *testing.T, node string) {
	t.Helper()
	away := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{
		Key: "metadata.name", Operator: corev1.NodeSelectorOpNotIn, Values: []string{node},
	}}}
	patchAgents(t, map[string]any{"spec": map[string]any{"affinity": corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{away}},
	}}}})
}

// letAgentsBack undoes keepAgentsAway.
func letAgentsBack(t *testing.T) {
	t.Helper()
	patchAgents(t, map[string]any{"spec": map[string]any{"affinity": nil}})
	awaitAgents(t)
}

// podOn is the pod of the agent of a node, nil while there is none.
func podOn(t *testing.T, node string) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := cluster.List(t.Context(), &pods, client.InNamespace(api.SystemNamespace), agentPods); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == node {
			return &pods.Items[i]
		}
	}
	return nil
}

// TestAgentPodDeleted: workers belong to nobody's pod.
func TestAgentPodDeleted(t *testing.T) {
	node := anyNode(t)
	w := aWorker("stays", onNode(node))
	var before string
	testenv.Test(t, features.New("the agent's pod is deleted").
		Assess("a worker runs on without it", step(func(t *testing.T) {
			waitFor(t, apply(t, w), api.ReasonRunning)
			before = processOf(t, w)
			pod := podOn(t, node)
			g := expect(t)
			g.Expect(cluster.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
			g.Eventually(func() bool { next := podOn(t, node); return next != nil && next.UID != pod.UID }).Should(BeTrue())
			awaitAgents(t)
			g.Expect(processOf(t, w)).To(Equal(before))
		})).
		Assess("the next one takes it over, ends it and starts others", step(func(t *testing.T) {
			other := apply(t, aWorker("comes", onNode(node)))
			waitFor(t, other, api.ReasonRunning)
			waitFor(t, w, api.ReasonRunning)
			expect(t).Expect(w.Status.RestartCount).To(BeZero())
			remove(t, w)
		})).
		Feature())
}

// TestUpgrade: a new image of the agents, node by node, under workers.
func TestUpgrade(t *testing.T) {
	var workers []*api.StormWorker
	before := map[string]string{}
	image := agentSet(t).Spec.Template.Spec.Containers[0].Image
	use := func(image string) {
		patchAgents(t, map[string]any{"spec": map[string]any{"containers": []corev1.Container{{Name: "node-agent", Image: image}}}})
		awaitAgents(t)
	}
	testenv.Test(t, features.New("the DaemonSet is upgraded").
		Assess("every worker keeps its process", step(func(t *testing.T) {
			g := expect(t)
			g.Expect(*nextImage).NotTo(BeElementOf("", image), "give -next-agent-image")
			for i := range 5 {
				workers = append(workers, apply(t, aWorker(fmt.Sprintf("runs-%d", i))))
			}
			for _, w := range workers {
				waitFor(t, w, api.ReasonRunning)
				before[w.Name] = processOf(t, w)
			}
			use(*nextImage)
			for _, w := range workers {
				waitFor(t, w, api.ReasonRunning)
				g.Expect(processOf(t, w)).To(Equal(before[w.Name]))
				g.Expect(w.Status.RestartCount).To(BeZero())
			}
		})).
		Assess("and so it does when the upgrade is taken back", step(func(t *testing.T) {
			use(image)
			for _, w := range workers {
				expect(t).Expect(processOf(t, w)).To(Equal(before[w.Name]))
			}
		})).
		Feature())
}

// TestManagerKilled: both managers are gone while workers start.
func TestManagerKilled(t *testing.T) {
	const count = 20
	testenv.Test(t, features.New("the managers are killed").
		Assess(fmt.Sprintf("while %d workers start, and all of them start", count), step(func(t *testing.T) {
			g := expect(t)
			var workers []*api.StormWorker
			for i := range count {
				workers = append(workers, apply(t, aWorker(fmt.Sprintf("starts-%d", i))))
				if i == count/2 {
					g.Expect(cluster.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(api.SystemNamespace), managerPods,
						client.GracePeriodSeconds(0))).To(Succeed())
				}
			}
			pids := map[string]bool{}
			for _, w := range workers {
				waitFor(t, w, api.ReasonRunning)
				g.Expect(w.Status.RestartCount).To(BeZero())
				pids[fmt.Sprint(w.Status.NodeName, w.Status.PID)] = true
			}
			g.Expect(pids).To(HaveLen(count), "each has a process of its own")
		})).
		Feature())
}
