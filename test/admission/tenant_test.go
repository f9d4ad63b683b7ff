package admission

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
)

// use is a rule that grants a user or an image.
func use(resource, name string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"stormcell.dev"}, Resources: []string{resource}, ResourceNames: []string{name}, Verbs: []string{"use"}}
}

// with is a worker of other values.
func with(user, image, namespace string) *api.StormWorker {
	w := worker("wanted")
	w.Spec.User, w.Spec.Image, w.Namespace = user, image, namespace
	return w
}

// TestUse: who may create workers needs a grant of their user and image, too.
func TestUse(t *testing.T) {
	const user, image = "tina", "reg.example.com:5000/storm/rhel7:dev_current"
	tina := person(t, user)
	bind(t, user, "", "ClusterRole", "stormcell-edit")
	allowed(t, tina, change(boundWorker(t, "existing", nodeA), `{"spec":{"restartPolicy":"Never"}}`))
	check(t, tina, []attempt{
		{"no grant of the user", try(with("alice", image, team)), `tina may not run workers as user alice in namespace team-a; grant verb "use" on resource "stormusers" of API group "stormcell.dev" with resource name "alice", in a Role of namespace team-a or in a ClusterRole`},
		{"nor of another", try(with("bob", image, team)), `with resource name "bob"`},
	})

	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "alice"}, Rules: []rbacv1.PolicyRule{use("stormusers", "alice")}})
	bind(t, user, team, "Role", "alice")
	const missing = `tina may not run workers from image reg.example.com:5000/storm/rhel7:dev_current in namespace team-a; grant verb "use" on resource "stormimages" of API group "stormcell.dev" with resource name "reg.example.com:5000/storm/rhel7:dev_current"`
	eventually(t, missing, func() error { return try(with("alice", image, team))(t.Context(), tina) })

	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "image"}, Rules: []rbacv1.PolicyRule{use("stormimages", image)}})
	bind(t, user, team, "Role", "image")
	allowed(t, tina, try(with("alice", image, team)))
	check(t, tina, []attempt{
		{"another user", try(with("bob", image, team)), `as user bob`},
		{"another image", try(with("alice", image+"2", team)), `dev_current2"`},
		{"the default image", try(with("alice", "", team)), `tina may not run workers from the default image in namespace team-a; grant verb "use" on resource "stormimages" of API group "stormcell.dev" with resource name "DEFAULT"`},
		{"another namespace", try(with("alice", image, "default")), `as user alice in namespace default`},
	})

	create(t, admin, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "tina"}, Rules: []rbacv1.PolicyRule{use("stormusers", "alice"), use("stormimages", "DEFAULT")}})
	bind(t, user, "", "ClusterRole", "tina")
	allowed(t, tina, try(with("alice", "", "default")))
	check(t, tina, []attempt{{"no image bears the default's name", try(with("alice", "DEFAULT", team)), "must be an image name"}})
}

// TestUseOfAll: without resource names, a rule grants all.
func TestUseOfAll(t *testing.T) {
	bind(t, "olga", "", "ClusterRole", "stormcell-edit")
	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "all"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"stormcell.dev"}, Resources: []string{"stormusers", "stormimages"}, Verbs: []string{"use"}},
	}})
	bind(t, "olga", team, "Role", "all")
	olga := person(t, "olga")
	allowed(t, olga, try(with("bob", "a:1", team)))
	check(t, olga, []attempt{{"elsewhere", try(with("bob", "a:1", "default")), "as user bob in namespace default"}})
}

// TestUseOfRuntime: a grant of an image of the store is none of the registry's image of
// that name. Who asks for Docker needs a grant of it, and one of the image by its full name.
func TestUseOfRuntime(t *testing.T) {
	const stores, full = "demo:latest", "docker.io/library/demo:latest"
	bind(t, "dora", "", "ClusterRole", "stormcell-edit")
	dora := person(t, "dora")
	in := func(runtime api.Runtime, image, namespace string) *api.StormWorker {
		w := with("alice", image, namespace)
		w.Spec.Runtime = runtime
		return w
	}
	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "runc"}, Rules: []rbacv1.PolicyRule{use("stormusers", "alice"), use("stormimages", stores)}})
	bind(t, "dora", team, "Role", "runc")
	allowed(t, dora, try(in("", stores, team)))
	const missing = `dora may not run workers in runtime Docker in namespace team-a; grant verb "use" on resource "stormruntimes" of API group "stormcell.dev" with resource name "Docker", in a Role of namespace team-a or in a ClusterRole`
	check(t, dora, []attempt{
		{"the runtime that needs no grant", try(in(api.RuntimeRunc, stores, team)), ""},
		{"Docker", try(in(api.RuntimeDocker, stores, team)), missing},
	})

	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "docker"}, Rules: []rbacv1.PolicyRule{use("stormruntimes", "Docker")}})
	bind(t, "dora", team, "Role", "docker")
	eventually(t, "with resource name \""+full+"\"", func() error { return try(in(api.RuntimeDocker, full, team))(t.Context(), dora) })
	check(t, dora, []attempt{{"elsewhere", try(in(api.RuntimeDocker, stores, "default")), "as user alice in namespace default"}})
	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "full"}, Rules: []rbacv1.PolicyRule{use("stormimages", full)}})
	bind(t, "dora", team, "Role", "full")
	allowed(t, dora, try(in(api.RuntimeDocker, full, team)))
}

// TestTenantGainsNothing: who edits and administers a namespace of workers does
// no more than that.
func TestTenantGainsNothing(t *testing.T) {
	const user = "theo"
	theo := person(t, user)
	bind(t, user, team, "ClusterRole", "stormcell-edit")
	// What the namespace's admin has of RBAC itself, which envtest's "admin" lacks.
	create(t, admin, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "roles"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"get", "list", "create", "update", "patch", "delete"}},
	}})
	bind(t, user, team, "Role", "roles")
	create(t, admin, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "everybody"}, Rules: []rbacv1.PolicyRule{use("stormusers", "alice")}})
	w := boundWorker(t, "edited", nodeA)
	create(t, admin, &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, Spec: api.StormImageSpec{Tag: "a:1"}})
	self := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	allowed(t, theo, change(w, `{"spec":{"restartPolicy":"Never"},"metadata":{"labels":{"a":"b"}}}`))
	check(t, theo, []attempt{
		{"reads workers", func(ctx context.Context, c client.Client) error {
			return c.List(ctx, &api.StormWorkerList{}, client.InNamespace(team))
		}, ""},
		{"reads all workers", list(&api.StormWorkerList{}), `cannot list resource "stormworkers"`},
		{"reads Secrets", list(&corev1.SecretList{}), `cannot list resource "secrets"`},
		{"writes status", report(w, `{"status":{"pid":1}}`), `cannot patch resource "stormworkers/status"`},
		{"writes status beside spec", func(ctx context.Context, c client.Client) error {
			if err := change(w, `{"status":{"pid":1}}`)(ctx, c); err != nil {
				return err
			}
			after := new(api.StormWorker)
			if err := c.Get(ctx, client.ObjectKeyFromObject(w), after); err != nil || after.Status.PID == 1 {
				t.Errorf("pid %d, %v", after.Status.PID, err)
			}
			return nil
		}, ""},
		{"takes the finalizer off", change(w, `{"metadata":{"finalizers":null}}`), "keep stormcell.dev/worker in metadata.finalizers"},
		{"changes an image", change(&api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}}, `{"spec":{"prefetch":{}}}`), `cannot patch resource "stormimages"`},
		{"makes a StormNode", try(stormNode("x")), `cannot create resource "stormnodes"`},
		{"grants itself a user", try(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "mine"}, Rules: []rbacv1.PolicyRule{use("stormusers", "alice")}}), "attempting to grant RBAC permissions not currently held"},
		{"takes another's grant", try(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "mine"}, Subjects: self,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "everybody"},
		}), "attempting to grant RBAC permissions not currently held"},
	})
}

// TestSample: config/samples/tenant.yaml grants what it says.
func TestSample(t *testing.T) {
	kubeconfig, err := cluster.WriteKubeconfig(testCluster.Config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, args...)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil && strings.TrimSpace(string(out)) != "no" {
			t.Fatalf("%v: %s", args, out)
		}
		return string(out)
	}
	create(t, admin, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-sample"}})
	samples := filepath.Join(cluster.Root(), "config", "samples")
	kubectl("apply", "--namespace", "team-sample", "--filename", filepath.Join(samples, "tenant.yaml"))
	sam := []string{"--namespace", "team-sample", "--as", "sam", "--as-group", "team-a"}
	out := kubectl(append(sam, "apply", "--filename", filepath.Join(samples, "stormworker.yaml"))...)
	if want := "stormworker.stormcell.dev/clock created"; strings.TrimSpace(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
	kubectl(append(sam, "delete", "stormworker", "clock")...)
	for image, want := range map[string]string{"stormcell/demo:latest": "yes", "DEFAULT": "yes", "a:1": "no"} {
		out := kubectl(append(sam, "auth", "can-i", "use", "stormimages.stormcell.dev/"+image)...)
		if !strings.HasSuffix(strings.TrimSpace(out), want) {
			t.Errorf("can-i use %s: %s", image, out)
		}
	}
}

// TestProfileRight: who may edit workers may not look into them by that.
func TestProfileRight(t *testing.T) {
	bind(t, "paula", team, "ClusterRole", "stormcell-edit")
	paula := person(t, "paula")
	allowed(t, paula, change(boundWorker(t, "profiled", nodeA), `{"spec":{"restartPolicy":"Never"}}`))
	check(t, paula, []attempt{{"a heap dump", try(profileOf("p")), `cannot create resource "stormprofiles"`}})
	bind(t, "paula", team, "ClusterRole", "stormcell-profile")
	allowed(t, paula, try(profileOf("p")))
	elsewhere := profileOf("p")
	elsewhere.Namespace = metav1.NamespaceDefault
	check(t, paula, []attempt{{"another tenant's", try(elsewhere), `cannot create resource "stormprofiles"`}})
}
