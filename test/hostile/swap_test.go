package hostile

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/suite"
)

// TestSwap: workers of one user put links in the place of what lies in the directories
// of one of them, its own and its artifacts, while the agent prepares its next launch.
// Nothing of that is mounted or written to, so no link leads root to a directory of the
// host.
func TestSwap(t *testing.T) { inEach(t, swaps) }

func swaps(t *testing.T, in api.Runtime) {
	t.Helper()
	g := suite.Expect(t)
	target := canary(t)
	var accomplices []*api.StormWorker
	var sockets []string
	for _, name := range []string{"accomplice-1", "accomplice-2"} {
		socket := "@stormcell-hostile-" + string(in) + name + "-" + filepath.Base(s.Dir)
		w := start(t, in, name, func(*api.StormWorkerSpec) []string { return []string{"swap", socket, target} })
		g.Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("waiting"))
		accomplices, sockets = append(accomplices, w), append(sockets, socket)
	}
	giver := start(t, in, "giver", func(spec *api.StormWorkerSpec) []string {
		return []string{"give", artifacts(spec), "secret", sockets[0], ".", sockets[1], artifacts(spec)}
	})
	g.Eventually(func() string { return logOf(t, giver) }).Should(Or(ContainSubstring("held: /tmp"), ContainSubstring("ESCAPED")))
	for _, w := range append(accomplices, giver) {
		g.Expect(logOf(t, w)).NotTo(ContainSubstring("ESCAPED"))
	}
	suite.Remove(t, s.Client, giver)
}
