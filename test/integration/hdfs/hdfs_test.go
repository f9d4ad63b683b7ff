// Package hdfs runs stormcell whole on an image store in a real HDFS with
// fail-over, and takes parts of that HDFS away.
package hdfs

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/hdfs"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

var (
	h *hdfs.Cluster
	s *stack.Stack
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the node-agent needs root, so run this as root")
		return 0
	}
	ctrl.SetLogger(logr.Discard()) // the API server's start has much to say
	return hdfs.Main(m, hdfs.Options{HA: true}, func(c *hdfs.Cluster) { h = c })
}

// startStack starts stormcell on the HDFS for a test.
func startStack(t *testing.T) {
	t.Helper()
	var err error
	if s, err = stack.Start(t.Context(), stack.WithStore(h.URL("store"), "HADOOP_CONF_DIR="+h.ConfDir())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tail(t, "manager.log")
			tail(t, "node-agent.log")
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.StartAgent(); err != nil {
		t.Fatal(err)
	}
}

// tail prints the end of a daemon's log.
func tail(t *testing.T, name string) {
	const most = 8 << 10
	log, err := os.ReadFile(s.Path(name))
	if err != nil {
		t.Error(err)
	}
	t.Logf("the end of %s:\n%s", name, log[max(0, len(log)-most):])
}

func expect(t *testing.T) *WithT {
	t.Helper()
	return suite.Expect(t)
}

var lastPort int32 = 6700

// worker starts a worker of the store's image that sleeps, and waits until it
// is in the state that reason names.
func worker(t *testing.T, name, reason string) *api.StormWorker {
	t.Helper()
	lastPort++
	w, err := s.Apply(t.Context(), name, lastPort, stack.Image, "sleep", "infinity")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(context.Background(), w); err != nil {
			t.Error(err)
		}
	})
	if err := s.Await(t.Context(), w, reason); err != nil {
		t.Fatal(err)
	}
	return w
}

// imageReady returns the condition Ready of the StormImage.
func imageReady(t *testing.T) metav1.Condition {
	t.Helper()
	var images api.StormImageList
	if err := s.Client.List(t.Context(), &images); err != nil {
		t.Fatal(err)
	}
	for _, i := range images.Items {
		if c := meta.FindStatusCondition(i.Status.Conditions, api.ImageReady); c != nil && i.Spec.Tag == stack.Image {
			return *c
		}
	}
	return metav1.Condition{}
}

// TestStoreAway takes all NameNodes away while a worker runs.
func TestStoreAway(t *testing.T) {
	g := expect(t)
	startStack(t)
	runs := worker(t, "runs", api.ReasonRunning)
	g.Expect(imageReady(t).Status).To(Equal(metav1.ConditionTrue))

	for _, name := range []string{hdfs.NameNode1, hdfs.NameNode2} {
		g.Expect(h.StopDaemon(name, "KILL")).To(Succeed())
	}
	g.Eventually(func() string { return imageReady(t).Reason }).Should(Equal(api.ReasonStoreUnavailable))
	c := imageReady(t)
	t.Log("with the store away: " + c.Message)
	g.Expect(c.Status).To(Equal(metav1.ConditionUnknown))
	g.Expect(c.Message).To(And(ContainSubstring(h.URL("store")), ContainSubstring("the last answer is used"), ContainSubstring("may be stale")))

	worker(t, "cached", api.ReasonRunning)
	pid := runs.Status.PID
	g.Expect(s.Await(t.Context(), runs, api.ReasonRunning)).To(Succeed())
	g.Expect(runs.Status.PID).To(Equal(pid), "the worker that ran does not notice")
	g.Expect(runs.Status.RestartCount).To(BeZero())

	for _, name := range []string{hdfs.NameNode1, hdfs.NameNode2} {
		g.Expect(h.StartDaemon(name)).To(Succeed())
	}
	// A NameNode that is not up yet cannot be told to be the active one.
	g.Eventually(h.Failover).Should(Succeed())
	g.Expect(h.Await()).To(Succeed())
	g.Eventually(func() string { c := imageReady(t); return c.Reason + ": " + c.Message }).Should(HavePrefix(api.ReasonResolved + ":"))
	emptyCache(t)
	worker(t, "fetched-again", api.ReasonRunning)
}

// TestBlockLost removes every replica of a layer's first block. It comes last,
// since the store stays broken.
func TestBlockLost(t *testing.T) {
	g := expect(t)
	startStack(t)
	layers, err := h.DFS("-ls", "-C", "/store/layers/*.sqsh")
	g.Expect(err).NotTo(HaveOccurred())
	layer := firstLine(layers)
	blocks, err := h.Blocks(layer)
	g.Expect(err).NotTo(HaveOccurred())
	for _, replica := range blocks[0].Replicas {
		g.Expect(os.Remove(replica)).To(Succeed())
	}
	w := worker(t, "block-lost", api.ReasonLocalizeFailed)
	c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
	t.Log("without the block: " + c.Message)
	g.Expect(c.Message).To(And(ContainSubstring(path.Base(layer)), ContainSubstring(blocks[0].Name)))
}

func firstLine(text string) string {
	for i := range text {
		if text[i] == '\n' {
			return text[:i]
		}
	}
	return text
}

// emptyCache makes the node forget its layers.
func emptyCache(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(s.Path("cache", "layers", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
}
