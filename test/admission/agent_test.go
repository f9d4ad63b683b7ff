package admission

import (
	"context"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	leases "k8s.io/client-go/applyconfigurations/coordination/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// renew applies the Lease of a name, as agents do.
func renew(name string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		lease := leases.Lease(name, api.SystemNamespace).WithSpec(leases.LeaseSpec().WithRenewTime(metav1.NowMicro()))
		return c.Apply(ctx, lease, client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership)
	}
}

// event is one of a component's about an object of a kind.
func event(component, apiVersion, kind string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: team, GenerateName: "e-"},
		EventTime:           metav1.NowMicro(),
		ReportingController: component, ReportingInstance: component + "-1",
		Action: "Run", Reason: "Running", Type: "Normal", Note: "runs",
		Regarding: corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: team, Name: "x"},
	}
}

// podAgent connects as the agent in a pod on a node, by a token such as kubelet
// fetches for the pod.
func podAgent(t *testing.T, node string) client.Client {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "agent"},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: api.AgentFieldOwner,
			Containers: []corev1.Container{{Name: "agent", Image: "agent"}},
		},
	}
	create(t, admin, pod)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: api.AgentFieldOwner}}
	if err := admin.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(testCluster.Config)
	config.BearerToken = request.Status.Token
	return as(t, config)
}

// TestAgent: an agent can do all its work on its node, and nothing elsewhere.
func TestAgent(t *testing.T) {
	here, there, nowhere := boundWorker(t, "here", nodeA), boundWorker(t, "there", nodeB), boundWorker(t, "nowhere", "")
	for _, node := range []string{nodeA, nodeB} {
		create(t, manager, stormNode(node))
	}
	ownEvent := event(api.AgentFieldOwner, api.GroupVersion.String(), "StormWorker")
	image := &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Spec: api.StormImageSpec{Tag: "a:1"}}
	create(t, admin, image)
	ownProfile, otherProfile := boundProfile(t, "here", nodeA), boundProfile(t, "there", nodeB)
	foreign := event("kubelet", "v1", "Pod")
	create(t, admin, foreign)
	create(t, admin, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "node-node-b"}})
	running := `{"status":{"pid":7,"conditions":[` + condition(api.WorkerAdmitted, "True") + `,` + condition(api.WorkerRunning, "True") + `]}}`
	attempts := []attempt{
		{"reports on its worker", report(here, running), ""},
		{"reports on its StormNode", report(stormNode(nodeA), `{"status":{"imagesReady":1}}`), ""},
		{"makes its Lease", renew("node-node-a"), ""},
		{"renews its Lease", renew("node-node-a"), ""},
		{"tells of its worker", try(ownEvent), ""},
		{"reads workers", list(&api.StormWorkerList{}), ""},
		{"reports on its profile", report(ownProfile, `{"status":{"output":"done"}}`), ""},
		{"reads profiles", list(&api.StormProfileList{}), ""},
		{"reads images", list(&api.StormImageList{}), ""},
		{"reads StormNodes", list(&api.StormNodeList{}), ""},

		{"reports on another node's worker", report(there, `{"status":{"pid":7}}`), "the node-agent of node node-a may not write the status of a worker that is bound to node node-b"},
		{"reports on a worker of no node", report(nowhere, `{"status":{"pid":7}}`), "bound to no node"},
		{"takes a worker of no node", report(nowhere, `{"status":{"nodeName":"node-a"}}`), "bound to no node"},
		{"moves its worker", report(here, `{"status":{"nodeName":"node-b"}}`), "stays bound to its node"},
		{"pins its worker's image", report(here, `{"status":{"image":{"tag":"a","manifestDigest":"sha256:2"}}}`), "written by the manager"},
		{"drops the status", report(here, `{"status":null}`), "written by the manager"},
		{"admits its worker", report(here, `{"status":{"conditions":[`+condition(api.WorkerAdmitted, "False")+`]}}`), "written by the manager"},
		{"schedules its worker", report(here, `{"status":{"conditions":[`+condition(api.WorkerAdmitted, "True")+`,`+condition(api.WorkerScheduled, "True")+`]}}`), "written by the manager"},
		{"drops what the manager said", report(here, `{"status":{"conditions":[]}}`), "written by the manager"},
		{"writes spec", change(here, `{"spec":{"restartPolicy":"Never"}}`), `cannot patch resource "stormworkers"`},
		{"lets its worker go", change(here, `{"metadata":{"finalizers":null}}`), `cannot patch resource "stormworkers"`},
		{"makes a worker", try(worker("made")), `cannot create resource "stormworkers"`},
		{"deletes its worker", func(ctx context.Context, c client.Client) error { return c.Delete(ctx, worker("here")) }, `cannot delete resource "stormworkers"`},
		{"reports on another StormNode", report(stormNode(nodeB), `{"status":{"imagesReady":1}}`), "the node-agent of node node-a may not write the status of StormNode node-b"},
		{"reports on another node's profile", report(otherProfile, `{"status":{"output":"done"}}`), "the node-agent of node node-a may not write the status of a profile that is bound to node node-b"},
		{"turns its profile to another worker", report(ownProfile, `{"status":{"workerUID":"v"}}`), "cannot be changed"},
		{"drops its profile's status", report(ownProfile, `{"status":null}`), "written by the manager"},
		{"makes a profile", try(profileOf("made")), `cannot create resource "stormprofiles"`},
		{"deletes its profile", func(ctx context.Context, c client.Client) error { return c.Delete(ctx, profileOf("here")) }, `cannot delete resource "stormprofiles"`},
		{"wants an image", change(stormNode(nodeA), `{"spec":{"images":[]}}`), `cannot patch resource "stormnodes"`},
		{"lets somebody else into its node", change(stormNode(nodeA), `{"spec":{"managers":{"caBundle":"eA=="}}}`), `cannot patch resource "stormnodes"`},
		{"reports on an image", report(image, `{"status":{"manifestDigest":"sha256:1"}}`), `cannot patch resource "stormimages/status"`},
		{"renews another node's Lease", renew("node-node-b"), "the node-agent of node node-a may write only Lease node-node-a"},
		{"leads the managers", renew("stormcell-manager"), "may write only Lease node-node-a"},
		{"tells of a pod", try(event(api.AgentFieldOwner, "v1", "Pod")), "only its own events of stormcell's objects"},
		{"tells in another's name", try(event("kubelet", api.GroupVersion.String(), "StormWorker")), "only its own events of stormcell's objects"},
		{"changes another's event", change(foreign, `{"metadata":{"labels":{"a":"b"}}}`), "only its own events of stormcell's objects"},
		{"reads Secrets", list(&corev1.SecretList{}), `cannot list resource "secrets"`},
		{"reads ConfigMaps", list(&corev1.ConfigMapList{}), `cannot list resource "configmaps"`},
		{"reads pods", list(&corev1.PodList{}), `cannot list resource "pods"`},
		{"reads nodes", list(&corev1.NodeList{}), `cannot list resource "nodes"`},
	}
	t.Run("by a token of its Node", func(t *testing.T) { check(t, agent(t, nodeA), attempts) })
	t.Run("by a token of its pod", func(t *testing.T) { check(t, podAgent(t, nodeA), attempts) })
	t.Run("by a token of no node", func(t *testing.T) {
		const words = "names no node"
		check(t, agent(t, ""), []attempt{
			{"reports on a worker", report(here, `{"status":{"pid":7}}`), words},
			{"reports on a worker of no node", report(nowhere, `{"status":{"pid":7}}`), words},
			{"reports on a StormNode", report(stormNode(nodeA), `{"status":{"imagesReady":1}}`), words},
			{"makes a Lease", renew("node-node-a"), words},
			{"renews a Lease", renew("node-node-b"), words},
			{"tells of a worker", try(ownEvent), words},
		})
	})
}

// TestAgentWritesNoMetadata: what an agent writes of an object beside status is
// not taken.
func TestAgentWritesNoMetadata(t *testing.T) {
	w := boundWorker(t, "metadata", nodeA)
	document := `{"metadata":{"finalizers":null,"labels":{"a":"b"},"annotations":{"a":"b"},
		"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]},"spec":{"restartPolicy":"Never"},"status":{"pid":7}}`
	if err := report(w, document)(t.Context(), agent(t, nodeA)); err != nil {
		t.Fatal(err)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	if w.Status.PID != 7 {
		t.Errorf("pid %d was written, not 7", w.Status.PID)
	}
	if !slices.Equal(w.Finalizers, []string{api.WorkerFinalizer}) || len(w.Labels)+len(w.Annotations)+len(w.OwnerReferences) > 0 || w.Spec.RestartPolicy != api.RestartAlways {
		t.Errorf("an agent wrote more than status: %+v", w)
	}
}

// TestPolicyOfAgentsIsWhole: the policy looks at each kind of thing that the
// agent's roles let it write.
func TestPolicyOfAgentsIsWhole(t *testing.T) {
	var policy admissionv1.ValidatingAdmissionPolicy
	var everywhere rbacv1.ClusterRole
	var system rbacv1.Role
	for key, obj := range map[client.ObjectKey]client.Object{
		{Name: api.AgentFieldOwner}:                                 &everywhere,
		{Name: api.AgentFieldOwner, Namespace: api.SystemNamespace}: &system,
	} {
		if err := admin.Get(t.Context(), key, obj); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: "stormcell-node-agent"}, &policy); err != nil {
		t.Fatal(err)
	}
	looksAt := func(group, resource string) bool {
		return slices.ContainsFunc(policy.Spec.MatchConstraints.ResourceRules, func(r admissionv1.NamedRuleWithOperations) bool {
			return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource)
		})
	}
	seen := 0
	for _, rule := range slices.Concat(everywhere.Rules, system.Rules) {
		if !slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) }) {
			continue
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if strings.HasSuffix(resource, "reviews") {
					continue // a question, of which nothing is stored
				}
				seen++
				if !looksAt(group, resource) {
					t.Errorf("agents may write %s of %q, and their policy does not look at it", resource, group)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("agents may write nothing")
	}
}
