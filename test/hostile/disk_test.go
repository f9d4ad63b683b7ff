package hostile

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/suite"
)

// TestFillTheDisk: a worker that takes up more of the disk than it may is ended, however
// it does that. Nothing of that stays, and it is not started again.
func TestFillTheDisk(t *testing.T) { inEach(t, fills) }

func fills(t *testing.T, in api.Runtime) {
	t.Helper()
	const limit = "32Mi"
	artifactsOf := func(spec *api.StormWorkerSpec) string { return artifacts(spec) }
	for _, tt := range []struct {
		attack string
		where  func(spec *api.StormWorkerSpec) string
		count  string
		says   string
	}{
		{"fill", func(*api.StormWorkerSpec) string { return "/tmp" }, "64", `/tmp: [\d.]+ MiB`},
		{"fill", artifactsOf, "64", `its artifacts: [\d.]+ MiB`},
		{"files", func(*api.StormWorkerSpec) string { return "." }, "5000", `its directory: .* in 2\d\d\d files`},
		{"unlinked", artifactsOf, "64", `deleted files that are open: \d+`},
		{"mapped", func(*api.StormWorkerSpec) string { return "/tmp" }, "64", `deleted files that are open: \d+`},
	} {
		t.Run(tt.attack, func(t *testing.T) {
			g := suite.Expect(t)
			var dir string
			w := start(t, in, "filler", func(spec *api.StormWorkerSpec) []string {
				spec.RestartPolicy = api.RestartAlways
				spec.Resources.Limits.EphemeralStorage = new(resource.MustParse(limit))
				dir = artifacts(spec)
				return []string{tt.attack, tt.where(spec), tt.count}
			})
			ready := suite.WaitFor(t, s.Client, w, api.ReasonEphemeralStorageExceeded)
			g.Expect(ready.Message).To(And(ContainSubstring("more than its 32 MiB in 2048 files"), MatchRegexp(tt.says)))
			g.Expect(w.Status.LastExit.EphemeralStorageExceeded).To(BeTrue())
			for _, gone := range []string{dir, s.Path("storm", "workers", w.ID()), s.Path("storm", "workers-tmp", w.ID())} {
				g.Eventually(func() error { _, err := os.Lstat(gone); return err }).Should(MatchError(os.ErrNotExist), gone)
			}
			if in == api.RuntimeRunc { // Docker's is in the container
				g.Expect(filepath.Join(s.Path("log"), w.ContainerID())).To(BeADirectory(), "its log")
			}
			g.Expect(w.Status.RestartCount).To(BeZero())
		})
	}
}

// TestDiskOfAWorkerThatIsNotHostile: a worker below its limit goes on.
func TestDiskOfAWorkerThatIsNotHostile(t *testing.T) { inEach(t, modest) }

func modest(t *testing.T, in api.Runtime) {
	t.Helper()
	g := suite.Expect(t)
	w := start(t, in, "modest", func(spec *api.StormWorkerSpec) []string {
		spec.Resources.Limits.EphemeralStorage = new(resource.MustParse("32Mi"))
		return []string{"unlinked", "/tmp", "8"}
	})
	g.Eventually(func() string {
		text, _ := s.AgentMetrics(t.Context())
		return text
	}).Should(MatchRegexp(`(?m)^stormcell_worker_ephemeral_storage_bytes{.*worker="` + w.Name + `"} 8\.[3-9]\d*e\+06`))
	suite.WaitFor(t, s.Client, w, api.ReasonRunning)
}
