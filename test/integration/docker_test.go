package integration

import (
	"fmt"
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// dockerImage is allowed in Docker, which the node has not turned on.
const dockerImage = "docker.io/library/debian:12"

// inDocker makes a worker of runtime Docker that names the node.
func inDocker(t *testing.T, name string) *api.StormWorker {
	t.Helper()
	return apply(t, aWorker(name, func(spec *api.StormWorkerSpec) {
		spec.Runtime, spec.Image, spec.NodeName = api.RuntimeDocker, dockerImage, stack.NodeName
	}))
}

// heir makes a worker on the port of another.
func heir(t *testing.T, of *api.StormWorker) *api.StormWorker {
	t.Helper()
	return apply(t, aWorker(of.Name+"-heir", func(spec *api.StormWorkerSpec) { spec.Port, spec.NodeName = of.Spec.Port, stack.NodeName }))
}

// TestDockerWithoutDocker: whoever names Docker for a node without it holds no port
// there, and a worker that is bound there all the same, as a manager of an older
// release did it, does not stay.
func TestDockerWithoutDocker(t *testing.T) {
	g := expect(t)
	waits := inDocker(t, "docker-waits")
	c := waitFor(t, waits, api.ReasonRuntimeMissing)
	g.Expect(c.Message).To(ContainSubstring("does not have runtime Docker"))
	waitFor(t, heir(t, waits), api.ReasonRunning)

	bound := inDocker(t, "docker-bound")
	waitFor(t, bound, api.ReasonRuntimeMissing)
	manager, err := client.New(s.As("system:serviceaccount:"+api.SystemNamespace+":"+api.ManagerFieldOwner), client.Options{Scheme: s.Client.Scheme()})
	g.Expect(err).NotTo(HaveOccurred())
	status := fmt.Sprintf(`{"status":{"nodeName":%q,"runtime":"Docker","image":{"tag":%q}}}`, stack.NodeName, dockerImage)
	g.Expect(manager.Status().Patch(t.Context(), bound, client.RawPatch(types.MergePatchType, []byte(status)))).To(Succeed())
	g.Eventually(func() string { return ready(t, bound).Message }).Should(ContainSubstring("runtime is off: set stormcell.docker.enable"))
	// It is recorded, and the next agent starts with that.
	g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
	g.Expect(s.StartAgent()).To(Succeed())
	remove(t, bound)
	waitFor(t, heir(t, bound), api.ReasonRunning)
}
