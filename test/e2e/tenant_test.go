//go:build e2e

package e2e

import (
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// tenant is a client as a user who may edit in the suite's namespace, and nothing else.
func tenant(t *testing.T, name string) client.Client {
	t.Helper()
	conf := rest.CopyConfig(testenv.EnvConf().Client().RESTConfig())
	conf.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	c, err := client.New(conf, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// grant binds a user to a role in the suite's namespace.
func grant(user, name string, kind string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "e2e-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
}

// TestTenants: who may create workers may not yet run them as anybody, with any image.
func TestTenants(t *testing.T) {
	const user = "e2e-tenant"
	as := tenant(t, user)
	use := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "e2e-use"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{api.GroupVersion.Group}, Resources: []string{"stormusers"}, ResourceNames: []string{"nobody"}, Verbs: []string{"use"}},
			{APIGroups: []string{api.GroupVersion.Group}, Resources: []string{"stormimages"}, ResourceNames: []string{otherImage}, Verbs: []string{"use"}},
		},
	}
	with := func(image string) func(*api.StormWorkerSpec) {
		return func(spec *api.StormWorkerSpec) { spec.Image = image }
	}
	refused := func(t *testing.T, w *api.StormWorker, words ...string) {
		t.Helper()
		err := as.Create(t.Context(), w)
		g := expect(t)
		g.Expect(errors.IsForbidden(err) || errors.IsInvalid(err)).To(BeTrue(), "%v", err)
		for _, word := range words {
			g.Expect(err.Error()).To(ContainSubstring(word))
		}
		t.Log(err)
	}
	mine := aWorker("mine", with(otherImage))
	testenv.Test(t, features.New("tenants").
		Setup(create(use)).Setup(create(grant(user, "edit", "ClusterRole"))).
		Assess("one without a grant is told which one is missing", step(func(t *testing.T) {
			refused(t, aWorker("ungranted", with(otherImage)), "nobody", "use", user)
		})).
		Assess("one with grants runs a worker", step(func(t *testing.T) {
			g := expect(t)
			g.Expect(cluster.Create(t.Context(), grant(user, use.Name, "Role"))).To(Succeed())
			g.Eventually(func() error { return as.Create(t.Context(), mine) }).Should(Succeed())
			waitFor(t, mine, api.ReasonRunning)
		})).
		Assess("and no other image, user, status, node or namespace", step(func(t *testing.T) {
			refused(t, aWorker("image", with(aheadImage)), aheadImage)
			refused(t, aWorker("default"), "use")
			refused(t, aWorker("user", with(otherImage), func(spec *api.StormWorkerSpec) { spec.User = "daemon" }), "daemon")
			elsewhere := aWorker("elsewhere", with(otherImage))
			elsewhere.Namespace = metav1.NamespaceDefault
			refused(t, elsewhere, user)
			g := expect(t)
			stolen := mine.DeepCopy()
			stolen.Status.PID = 1
			g.Expect(errors.IsForbidden(as.Status().Update(t.Context(), stolen))).To(BeTrue())
		})).
		Feature())
}
