// Package admission holds config/base against a real API server: who may do
// what, by RBAC and by admission policies, and what those are told who may not.
package admission

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/test/cluster"
)

// The nodes, and the namespace of the workers, of every test.
const (
	nodeA, nodeB = "node-a", "node-b"
	team         = "team-a"
	patience     = 2 * time.Minute
)

var (
	testCluster *cluster.Cluster
	scheme      = kinds.Scheme()
	// admin is of group system:masters, whom RBAC permits everything; manager
	// has a token of the manager's service account.
	admin, manager client.Client
)

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) {
		testCluster = c
		if err := prepare(context.Background()); err != nil {
			panic(err)
		}
	}))
}

func prepare(ctx context.Context) error {
	var err error
	if admin, err = client.New(testCluster.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := testCluster.Install(ctx, "base"); err != nil {
		return err
	}
	config, err := testCluster.Account(ctx, api.ManagerFieldOwner, "")
	if err != nil {
		return err
	}
	if manager, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, o := range []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeA}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeB}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}},
	} {
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return awaitPolicies(ctx)
}

// awaitPolicies waits until the API server obeys the policies. It comes to know
// them in the order in which they were made: that of StormNodes is the last.
func awaitPolicies(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := admin.Create(ctx, stormNode("probe"), client.DryRunAll)
		if errors.IsForbidden(err) {
			return true, nil
		}
		return false, err
	})
}

// as connects with a configuration.
func as(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// person connects as a user of some groups.
func person(t *testing.T, name string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(testCluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated")}
	return as(t, config)
}

// agent connects as a node-agent, with a token that is bound to a Node, or to
// none.
func agent(t *testing.T, node string) client.Client {
	t.Helper()
	config, err := testCluster.Account(t.Context(), api.AgentFieldOwner, node)
	if err != nil {
		t.Fatal(err)
	}
	return as(t, config)
}

// attempt is one request. The API server refuses it with words, or takes it if
// there are none.
type attempt struct {
	name  string
	do    func(context.Context, client.Client) error
	words string
}

func check(t *testing.T, c client.Client, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			err := a.do(t.Context(), c)
			switch {
			case a.words == "" && err != nil:
				t.Error(err)
			case a.words != "" && err == nil:
				t.Errorf("accepted, and not refused with %q", a.words)
			case a.words != "" && !strings.Contains(err.Error(), a.words):
				t.Errorf("refused, but not with %q: %v", a.words, err)
			}
		})
	}
}

// change merges a JSON document into an object.
func change(obj client.Object, document string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, obj.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(document)))
	}
}

// report merges a JSON document into an object by way of its status.
func report(obj client.Object, document string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, obj.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(document)))
	}
}

// try creates an object without leaving it there.
func try(obj client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, obj.DeepCopyObject().(client.Object), client.DryRunAll)
	}
}

func list(into client.ObjectList) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error { return c.List(ctx, into) }
}

func worker(name string) *api.StormWorker {
	return &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
		Spec:       api.StormWorkerSpec{TopologyID: "t", Port: 6700, User: "alice", Image: "storm/rhel7:dev_current", Command: []string{"true"}},
	}
}

func stormNode(name string) *api.StormNode {
	return &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// boundWorker makes a worker as it is after the manager has bound it to a node,
// or to none yet.
func boundWorker(t *testing.T, name, node string) *api.StormWorker {
	t.Helper()
	w := worker(name)
	create(t, admin, w)
	document := fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, api.WorkerFinalizer)
	if err := change(w, document)(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	if node == "" {
		return w
	}
	document = fmt.Sprintf(`{"status":{"nodeName":%q,"conditions":[%s]}}`, node, condition(api.WorkerAdmitted, "True"))
	if err := report(w, document)(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	return w
}

// boundProfile is a profile that the manager has bound to a node.
func boundProfile(t *testing.T, name, node string) *api.StormProfile {
	t.Helper()
	p := profileOf(name)
	create(t, admin, p)
	if err := report(p, fmt.Sprintf(`{"status":{"nodeName":%q,"workerUID":"u"}}`, node))(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	return p
}

func profileOf(name string) *api.StormProfile {
	return &api.StormProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
		Spec:       api.StormProfileSpec{WorkerName: "w", Action: api.ProfileHeapDump},
	}
}

func condition(kind, status string) string {
	return fmt.Sprintf(`{"type":%q,"status":%q,"reason":"R","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}`, kind, status)
}

// create makes an object that the test's end removes, by the manager's leave.
func create(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := client.IgnoreNotFound(admin.Delete(ctx, obj)); err != nil {
			t.Error(err)
		}
		if _, isWorker := obj.(*api.StormWorker); !isWorker {
			return
		}
		if err := client.IgnoreNotFound(change(obj, `{"metadata":{"finalizers":null}}`)(ctx, manager)); err != nil {
			t.Error(err)
		}
	})
}

// bind lets a user have a role in the namespace team, or everywhere if that is "".
func bind(t *testing.T, user, namespace, kind, role string) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, GenerateName: user + "-"}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	if namespace == "" {
		create(t, admin, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		return
	}
	create(t, admin, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
}
