//go:build e2e

package e2e

import (
	"context"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// step is an assessment that needs nothing of the framework.
func step(do func(t *testing.T)) features.Func {
	return func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		t.Helper()
		do(t)
		return ctx
	}
}

func TestWorkerRuns(t *testing.T) {
	w := aWorker("runs", func(spec *api.StormWorkerSpec) {
		spec.RestartPolicy = api.RestartNever
		spec.Command = shell(`echo "user $(id -un 2>/dev/null || id -u), host $HOSTNAME"; trap "exit 7" USR1 TERM; echo waits; while :; do sleep 0.1; done`)
	})
	testenv.Test(t, features.New("a worker runs").
		Assess("it starts on a node that the manager chose", step(func(t *testing.T) {
			waitFor(t, apply(t, w), api.ReasonRunning)
			g := expect(t)
			g.Expect(w.Status.NodeName).NotTo(BeEmpty())
			g.Expect(w.Status.Image.Tag).To(Equal(baseImage), "the cluster's default image")
		})).
		Assess("what it prints is in its log on that node", step(func(t *testing.T) {
			expect(t).Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("waits"))
		})).
		Assess("a second one on its port of its node is refused", step(func(t *testing.T) {
			second := aWorker("second", func(spec *api.StormWorkerSpec) { spec.Port, spec.NodeName = w.Spec.Port, w.Status.NodeName })
			expect(t).Expect(waitFor(t, apply(t, second), api.ReasonPortInUse).Message).To(ContainSubstring("StormWorker runs;"))
		})).
		Feature())
}

func TestExitCode(t *testing.T) {
	w := aWorker("exits", func(spec *api.StormWorkerSpec) {
		spec.RestartPolicy, spec.Command = api.RestartNever, shell("echo done; exit 7")
	})
	testenv.Test(t, features.New("a worker ends").
		Assess("its exit code is told", step(func(t *testing.T) {
			waitFor(t, apply(t, w), api.ReasonFailed)
			g := expect(t)
			g.Expect(w.Status.LastExit.ExitCode).To(BeEquivalentTo(7))
			g.Expect(logOf(t, w)).To(ContainSubstring("done"))
		})).
		Feature())
}

func TestImages(t *testing.T) {
	testenv.Test(t, features.New("images").
		Assess("one of the allowlist runs", step(func(t *testing.T) {
			w := apply(t, aWorker("allowed", func(spec *api.StormWorkerSpec) { spec.Image = otherImage }))
			waitFor(t, w, api.ReasonRunning)
			expect(t).Expect(w.Status.Image.ManifestDigest).To(HavePrefix("sha256:"))
		})).
		Assess("one that is in the store and not in the allowlist is refused", step(func(t *testing.T) {
			w := apply(t, aWorker("refused", func(spec *api.StormWorkerSpec) { spec.Image = forbiddenImage }))
			g := expect(t)
			g.Expect(waitFor(t, w, api.ReasonImageNotAllowed).Message).To(ContainSubstring("storm.oci.allowed.images"))
			g.Expect(w.Status.NodeName).To(BeEmpty(), "no node hears of it")
		})).
		Feature())
}

// TestSharedLayers: the layers that two images have in common are fetched and
// mounted once on each node.
func TestSharedLayers(t *testing.T) {
	node := anyNode(t)
	on := func(name, image string) *api.StormWorker {
		return aWorker(name, func(spec *api.StormWorkerSpec) { spec.NodeName, spec.Image = node, image })
	}
	testenv.Test(t, features.New("layers").
		Assess("images of one and three layers, of which one is the same, are three mounts", step(func(t *testing.T) {
			for _, w := range []*api.StormWorker{on("one", baseImage), on("two", baseImage), on("three", otherImage)} {
				waitFor(t, apply(t, w), api.ReasonRunning)
			}
			g := expect(t)
			g.Expect(countOn(t, node, "mount "+places.RunRoot+"/layers/")).To(Equal(3))
			g.Expect(countOn(t, node, "loop device")).To(Equal(3))
			g.Expect(countOn(t, node, "mount "+places.RunRoot+"/workers/")).To(Equal(3), "a root file system for each")
		})).
		Feature())
}

// TestDeleteLeavesNothing: after workers of every kind of end.
func TestDeleteLeavesNothing(t *testing.T) {
	workers := []*api.StormWorker{
		aWorker("running"),
		aWorker("ended", func(spec *api.StormWorkerSpec) { spec.RestartPolicy, spec.Command = api.RestartNever, shell("exit 0") }),
		aWorker("crashing", func(spec *api.StormWorkerSpec) { spec.Command = shell("exit 1") }),
		aWorker("deaf", func(spec *api.StormWorkerSpec) { spec.Command = shell(`trap "" TERM; ` + forever) }),
	}
	testenv.Test(t, features.New("deletion").
		Assess("workers that run, have ended, crash and do not listen are all deleted", step(func(t *testing.T) {
			for i, reason := range []string{api.ReasonRunning, api.ReasonCompleted, api.ReasonCrashLoopBackOff, api.ReasonRunning} {
				waitFor(t, apply(t, workers[i]), reason)
			}
			for _, w := range workers {
				remove(t, w)
			}
		})).
		Assess("nothing of them is on any node", step(func(t *testing.T) {
			g := expect(t)
			g.Eventually(func() ([]string, error) { return onNodes(t.Context()) }).Should(BeEmpty())
		})).
		Feature())
}
