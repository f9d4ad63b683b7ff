package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
	"github.com/stormcell/stormcell/test/stack"
)

// plugin builds kubectl-storm, and returns how kubectl runs it as viewer.
func plugin(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/kubectl-storm")
	build.Dir = cluster.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	// Its certificate is the admin's, who may speak for others.
	kubeconfig, err := cluster.WriteKubeconfig(s.As(viewer), dir)
	if err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), cluster.Kubectl(), append([]string{"storm"}, args...)...)
		c.Args = append(c.Args, "--kubeconfig", kubeconfig, "--as", viewer)
		c.Env = []string{"PATH=" + dir + ":" + filepath.Dir(cluster.Kubectl()), "HOME=" + dir}
		out, err := c.CombinedOutput()
		t.Logf("$ kubectl storm %s\n%s", strings.Join(args, " "), out)
		return string(out), err
	}
}

// TestKubectlStorm looks at two workers as a person who may only view: one that
// is busy, and one that ends.
func TestKubectlStorm(t *testing.T) {
	letView(t)
	kubectl, g := plugin(t), expect(t)
	worker := func(name string, port int32, script string, policy api.RestartPolicy) *api.StormWorker {
		return apply(t, &api.StormWorker{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
			Spec: api.StormWorkerSpec{
				TopologyID: "kubectl-1-1608581491", Port: port, User: "nobody", Image: stack.Image, Command: shell(script), RestartPolicy: policy,
				Resources: api.WorkerResources{Limits: api.WorkerLimits{CPU: new(resource.MustParse("500m")), Memory: new(resource.MustParse("64Mi"))}},
			},
		})
	}
	busy := worker("busy", 6791, "echo begun; while :; do :; done", api.RestartAlways)
	failed := worker("failed", 6792, "echo last words; exit 3", api.RestartNever)
	g.Expect(s.Await(t.Context(), busy, api.ReasonRunning)).To(Succeed())
	g.Expect(s.Await(t.Context(), failed, api.ReasonFailed)).To(Succeed())

	out, err := kubectl("ps", busy.Spec.TopologyID)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(MatchRegexp(`(?m)^busy +6791 +%s +Running +0 +\d+[KM]i/64Mi +0\.[0-9]+/0\.5 +\d+s$`, stack.NodeName))
	g.Expect(out).To(MatchRegexp(`(?m)^failed +6792 +%s +Failed +0 +- +- +\d+s$`, stack.NodeName))
	g.Expect(kubectl("top", "--sort-by", "memory")).To(MatchRegexp(`(?s)busy .*failed `))
	g.Expect(kubectl("top", "-o", "json")).To(ContainSubstring(`"cpuMillis"`))
	g.Expect(kubectl("images", "--as-group", "system:masters")).To(MatchRegexp(`(?m)^%s +yes +[0-9a-f]{12} `, stack.Image))
	g.Expect(kubectl("explain", "busy")).To(ContainSubstring("worker busy has run on this-node, port 6791, for "))
	g.Expect(kubectl("logs", "busy", "--tail", "1")).To(Equal("begun\n"))
	out, err = kubectl("explain", "failed")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(ContainSubstring("it ended with exit code 3"))
	g.Expect(kubectl("logs", "failed")).To(Equal("last words\n"), "what explain advises")
	out, err = kubectl("logs", "absent")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(HavePrefix("error: log of worker absent in namespace default: "))
}
