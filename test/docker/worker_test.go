package docker

import (
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func TestWorkerRunsConfinedAndLeavesNothing(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("runs", func(spec *api.StormWorkerSpec) {
		spec.Env = []api.EnvVar{{Name: "GREETING", Value: `it's "quoted" $HOME`}}
		spec.Command = shell(`id -u; cat /proc/self/status; echo "says $GREETING"; mkdir /x; pwd; ` + forever)
	}))
	waitFor(t, w, api.ReasonRunning)
	g.Expect(w.Status.Runtime).To(Equal(api.RuntimeDocker), "the cluster's default")
	g.Expect(w.Status.PID).NotTo(BeZero())
	g.Eventually(func() string { return logOf(t, w) }).Should(And(
		ContainSubstring("65534\n"),
		MatchRegexp(`CapEff:\s+0000000000000000`),
		MatchRegexp(`CapBnd:\s+0000000000000000`),
		MatchRegexp(`NoNewPrivs:\s+1`),
		ContainSubstring(`says it's "quoted" $HOME`),
		ContainSubstring(s.Path("storm", "workers", w.ID())),
	))
	remove(t, w)
	nothingLeft(t)
}
