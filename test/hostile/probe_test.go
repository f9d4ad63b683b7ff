package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

// minProbes is how many attempts there are at least: fewer, and the worker has not come
// to its end.
const minProbes = 110

var tried = regexp.MustCompile(`(?m)tried (\d+)$`)

// TestProbe: a worker tries by itself all that a process can ask of the kernel, and
// gets none of it.
func TestProbe(t *testing.T) { inEach(t, probes) }

func probes(t *testing.T, in api.Runtime) {
	t.Helper()
	g := suite.Expect(t)
	w := start(t, in, "probe", func(*api.StormWorkerSpec) []string { return []string{"probe", s.Hostile(), "stay"} })
	var log string
	g.Eventually(func() string {
		log = logOf(t, w)
		return log
	}).Should(MatchRegexp(tried.String()))
	n, err := strconv.Atoi(tried.FindStringSubmatch(log)[1])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(BeNumerically(">=", minProbes))
	g.Expect(regexp.MustCompile("ESCAPED.*").FindAllString(log, -1)).To(BeEmpty())
	g.Expect(strings.Count(log, "held: ")).To(Equal(n))
	t.Logf("%d attempts, none of them successful", n)
}

// TestPlant: what a worker leaves in its directories for root to stumble over hinders
// neither its next launches nor its removal, and leads root nowhere.
func TestPlant(t *testing.T) { inEach(t, plants) }

func plants(t *testing.T, in api.Runtime) {
	t.Helper()
	g := suite.Expect(t)
	target := canary(t)
	w := start(t, in, "planter", func(spec *api.StormWorkerSpec) []string {
		return []string{"plant", target, ".", artifacts(spec), "/tmp", s.Path("storm", "supervisor", "stormdist", spec.TopologyID, "shared_by_topology")}
	})
	g.Eventually(func() int32 {
		suite.Ready(t, s.Client, w)
		return w.Status.RestartCount
	}).Should(BeNumerically(">=", 2))
	g.Eventually(func() string { return logOf(t, w) }).Should(MatchRegexp(`planted [1-9]`))
	suite.Remove(t, s.Client, w)
	// What its topology shared stays for a week, as its artifacts do.
	g.Expect(os.RemoveAll(s.Path("storm", "supervisor", "stormdist", w.Spec.TopologyID))).To(Succeed())
	for _, path := range []string{s.Path("storm", "workers", w.ID()), s.Path("storm", "workers-tmp", w.ID()), s.Path("run", "workers", w.ContainerID())} {
		g.Expect(path).NotTo(BeAnExistingFile())
	}
}

// canary makes a directory of root's that no worker reaches, and expects it to be as
// it was when the test ends.
func canary(t *testing.T) string {
	t.Helper()
	g := suite.Expect(t)
	closed := s.Path("closed-" + strings.ToLower(filepath.Base(t.Name())))
	dir := filepath.Join(closed, "canary")
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	g.Expect(os.Chmod(closed, 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600)).To(Succeed())
	before, err := stack.Look(dir)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if after, err := stack.Look(dir); err != nil || after != before {
			t.Errorf("root was led to a directory of its own: it was\n%s and is\n%s (%v)", before, after, err)
		}
		if err := os.RemoveAll(closed); err != nil {
			t.Error(err)
		}
	})
	return dir
}
