package docker

import (
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestStorageExceeded: what a container writes counts; beyond the limit it is ended, and
// not started again.
func TestStorageExceeded(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("greedy", func(spec *api.StormWorkerSpec) {
		spec.RestartPolicy = api.RestartAlways
		spec.Command = shell(`dd if=/dev/zero of=/tmp/x bs=1048576 count=64; while :; do sleep 0.1; done`)
		spec.Resources.Limits.EphemeralStorage = new(resource.MustParse("32Mi"))
	}))
	ready := waitFor(t, w, api.ReasonEphemeralStorageExceeded)
	g.Expect(ready.Message).To(ContainSubstring("more than its 32 MiB"))
	g.Expect(w.Status.LastExit.EphemeralStorageExceeded).To(BeTrue())
	g.Eventually(func() string { return docker(t, "ps", "--all", "--quiet", "--filter", "name="+w.ID()) }).Should(BeEmpty())
}
