package integration

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// ahead applies a StormImage that is brought to the nodes with a label, and is
// deleted at the end of the test.
func ahead(t *testing.T, label string) *api.StormImage {
	t.Helper()
	i := &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "ahead"}, Spec: api.StormImageSpec{
		Tag: stack.Image,
		Prefetch: &api.StormImagePrefetch{
			NodeSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: label, Operator: metav1.LabelSelectorOpExists}}},
		},
	}}
	if err := s.Client.Create(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Client.Delete(context.Background(), i); err != nil {
			t.Error(err)
		}
	})
	return i
}

// setLabel gives this node a label, or takes it away.
func setLabel(t *testing.T, label string, has bool) {
	t.Helper()
	before := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: stack.NodeName, Labels: map[string]string{label: ""}}}
	after := before.DeepCopy()
	if has {
		before.Labels = nil
	} else {
		after.Labels = nil
	}
	if err := s.Client.Patch(context.Background(), after, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// prefetched is the reason of an image's condition Prefetched.
func prefetched(t *testing.T, i *api.StormImage) string {
	t.Helper()
	if err := s.Client.Get(context.Background(), client.ObjectKeyFromObject(i), i); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(i.Status.Conditions, api.ImagePrefetched); c != nil {
		return c.Reason
	}
	return ""
}

// TestPrefetch: an image is on the node before any worker wants it, and a
// worker then starts from it while the store is away.
func TestPrefetch(t *testing.T) {
	const label = "stormcell.test/ahead"
	g := expect(t)
	emptyCache(t)
	i := ahead(t, label)
	reason := func() string { return prefetched(t, i) }
	g.Eventually(reason).Should(Equal(api.ReasonNoNodeSelected))
	g.Expect(cached(t)).To(BeEmpty())

	setLabel(t, label, true)
	t.Cleanup(func() { setLabel(t, label, false) })
	g.Eventually(reason).Should(Equal(api.ReasonPrefetched))
	g.Expect(*i.Status.Prefetch).To(Equal(api.StormImagePrefetchStatus{Nodes: 1, NodesReady: 1}))
	files := cached(t)
	g.Expect(files).To(HaveLen(2), "the image has two layers")
	n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: stack.NodeName}}
	g.Expect(s.Client.Get(t.Context(), client.ObjectKeyFromObject(n), n)).To(Succeed())
	g.Expect(*n.Status.ImagesReady).To(BeEquivalentTo(1))
	g.Expect(n.Status.Images[0].Bytes).To(BeNumerically(">", 0))
	images := n.Status.Images

	// A new agent finds it so, and the store is not needed for it.
	g.Expect(os.Rename(s.Path("store"), s.Path("store.away"))).To(Succeed())
	back := func() error { return os.Rename(s.Path("store.away"), s.Path("store")) }
	t.Cleanup(func() { g.Expect(back()).To(Succeed()) })
	g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
	g.Expect(s.StartAgent()).To(Succeed())
	w := apply(t, aWorker("from-ahead"))
	waitFor(t, w, api.ReasonRunning)
	g.Expect(cached(t)).To(Equal(files), "nothing was fetched")
	g.Expect(reason()).To(Equal(api.ReasonPrefetched))
	g.Expect(s.Client.Get(t.Context(), client.ObjectKeyFromObject(n), n)).To(Succeed())
	g.Expect(n.Status.Images).To(Equal(images), "a restart is no news")

	setLabel(t, label, false)
	g.Eventually(reason).Should(Equal(api.ReasonNoNodeSelected))
	g.Expect(cached(t)).To(Equal(files), "files stay until their room is needed")
}

// cached returns the layers of the node's cache, each with its inode, which a
// new fetch would change.
func cached(t *testing.T) map[string]uint64 {
	t.Helper()
	files, err := filepath.Glob(s.Path("cache", "layers", "*.sqsh"))
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]uint64{}
	for _, f := range files {
		var st syscall.Stat_t
		if err := syscall.Stat(f, &st); err != nil {
			t.Fatal(err)
		}
		inodes[f] = st.Ino
	}
	return inodes
}
