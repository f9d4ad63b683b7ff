//go:build e2e

package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestPrefetch: every layer of an image is on every node before a worker wants it.
func TestPrefetch(t *testing.T) {
	image := &api.StormImage{
		ObjectMeta: metav1.ObjectMeta{Name: "stormcell-e2e-ahead"},
		Spec:       api.StormImageSpec{Tag: aheadImage, Prefetch: &api.StormImagePrefetch{}},
	}
	testenv.Test(t, features.New("prefetch").
		Setup(create(image)).
		Assess("the image is brought to every node that has an agent", step(func(t *testing.T) {
			g := expect(t)
			g.Eventually(func() string {
				if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(image), image); err != nil {
					return err.Error()
				}
				c := meta.FindStatusCondition(image.Status.Conditions, api.ImagePrefetched)
				if c == nil {
					return "no condition yet"
				}
				return c.Reason
			}).Should(Equal(api.ReasonPrefetched))
			g.Expect(image.Status.Prefetch.NodesReady).To(BeEquivalentTo(agentSet(t).Status.NumberReady))
		})).
		Assess("its layers are in the cache and not mounted", step(func(t *testing.T) {
			g := expect(t)
			node := anyNode(t)
			for _, l := range image.Status.Layers {
				hex := strings.TrimPrefix(l.SquashfsDigest, "sha256:")
				content, err := ask(t.Context(), node, "read", places.CacheDir+"/layers/"+hex+".sqsh")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(content).To(HaveLen(int(l.SquashfsSize)))
			}
		})).
		Assess("a worker of it runs", step(func(t *testing.T) {
			waitFor(t, apply(t, aWorker("ahead", func(spec *api.StormWorkerSpec) { spec.Image = aheadImage })), api.ReasonRunning)
		})).
		Teardown(destroy(image)).
		Feature())
}
