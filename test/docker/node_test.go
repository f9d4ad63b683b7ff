package docker

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/test/image"
	"github.com/stormcell/stormcell/test/suite"
)

// TestProfiles: the profiler script enters Docker's containers, too.
func TestProfiles(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "jdk.tar")
	if err := image.WriteJDK(archive, jdkImage, "../integration/testdata/Spinner.java"); err != nil {
		t.Fatal(err)
	}
	name, err := d.Push(t.Context(), archive, jdkImage)
	if err != nil {
		t.Fatal(err)
	}
	w := apply(t, aWorker("java", func(w *api.StormWorkerSpec) {
		w.Image, w.Command = name, []string{"java", "-Xmx64m", "-cp", image.Classes, "Spinner"}
	}))
	waitFor(t, w, api.ReasonRunning)
	expect(t).Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("spins"))
	suite.Profiles(t, s.Client, w)
}

// TestLogStatsAndMetrics: a worker in Docker tells of itself by the same ways as
// one under runc.
func TestLogStatsAndMetrics(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("told", func(w *api.StormWorkerSpec) { w.Command = shell("echo one; echo two >&2; " + forever) }))
	waitFor(t, w, api.ReasonRunning)
	clients, err := kubernetes.NewForConfig(s.As("admin", "system:masters"))
	g.Expect(err).NotTo(HaveOccurred())
	raw := func(path string) func() string {
		return func() string {
			out, err := clients.RESTClient().Get().AbsPath(path).DoRaw(t.Context())
			if err != nil {
				return err.Error()
			}
			return string(out)
		}
	}
	key := client.ObjectKeyFromObject(w)
	g.Eventually(func() []string { return strings.Split(raw(connect.LogPath(key))(), "\n") }).Should(ConsistOf("one", "two", ""))
	g.Eventually(raw(connect.StatsPath(key))).Should(MatchRegexp(`"memoryBytes":[1-9]`))
	metrics, err := s.AgentMetrics(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(metrics).To(MatchRegexp(`stormcell_worker_memory_usage_bytes\{namespace="default",port="\d+",topology="it-1-1608581491",worker="told"\} [1-9]`))
}
