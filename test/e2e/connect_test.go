//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	connectapi "github.com/stormcell/stormcell/internal/connect"
)

// TestLogs: who may view a namespace follows the log of a worker in it, from the
// API server by its Service to a manager's pod, and from there to the node.
func TestLogs(t *testing.T) {
	const viewer = "e2e-viewer"
	open := func(t *testing.T, user string, w *api.StormWorker) (io.ReadCloser, error) {
		t.Helper()
		conf := rest.CopyConfig(testenv.EnvConf().Client().RESTConfig())
		conf.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
		clients, err := kubernetes.NewForConfig(conf)
		if err != nil {
			t.Fatal(err)
		}
		return clients.RESTClient().Get().AbsPath(connectapi.LogPath(client.ObjectKeyFromObject(w))).Param("follow", "true").Stream(t.Context())
	}
	w := aWorker("speaks", func(spec *api.StormWorkerSpec) { spec.Command = shell("echo first; " + forever) })
	testenv.Test(t, features.New("logs").
		Setup(create(grant(viewer, "view", "ClusterRole"))).Setup(create(w)).
		Assess("who may view follows the log", step(func(t *testing.T) {
			g := expect(t)
			waitFor(t, w, api.ReasonRunning)
			var log io.ReadCloser
			g.Eventually(func() (err error) { log, err = open(t, viewer, w); return err }).Should(Succeed())
			defer log.Close()
			lines := bufio.NewReader(log)
			g.Expect(lines.ReadString('\n')).To(Equal("first\n"))
			g.Expect(cluster.Delete(t.Context(), w)).To(Succeed())
			g.Expect(io.ReadAll(lines)).To(BeEmpty(), "and sees its end")
		})).
		Assess("nobody else", step(func(t *testing.T) {
			_, err := open(t, "e2e-nobody", w)
			expect(t).Expect(err).To(Satisfy(errors.IsForbidden))
		})).
		Feature())
}
