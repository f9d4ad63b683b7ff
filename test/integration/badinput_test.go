package integration

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// TestRefusedWorkers: each gets a reason and a sentence, and starts nothing.
func TestRefusedWorkers(t *testing.T) {
	for _, tc := range []struct {
		name    string
		change  func(*api.StormWorkerSpec)
		reason  string
		message string
	}{
		{"image-not-allowed", func(w *api.StormWorkerSpec) { w.Image = "storm/forbidden:latest" }, api.ReasonImageNotAllowed, "storm.oci.allowed.images"},
		{"tag-unknown", func(w *api.StormWorkerSpec) { w.Image = "storm/absent:latest" }, api.ReasonImageNotResolved, "storm/absent:latest"},
		{"user-unknown", func(w *api.StormWorkerSpec) { w.User = "nobody-here" }, api.ReasonUserRefused, "nobody-here"},
		{"user-banned", func(w *api.StormWorkerSpec) { w.User = "daemon" }, api.ReasonUserRefused, "banned"},
		{"user-below-min", func(w *api.StormWorkerSpec) { w.User = "games" }, api.ReasonUserRefused, "min.user.id"},
		{"node-unknown", func(w *api.StormWorkerSpec) { w.NodeName = "no-such-node" }, api.ReasonNodeNotFound, "no-such-node"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := apply(t, aWorker(tc.name, tc.change))
			c := waitFor(t, w, tc.reason)
			if g := expect(t); tc.message != "" {
				g.Expect(c.Message).To(ContainSubstring(tc.message))
				g.Expect(w.Status.PID).To(BeZero())
			}
		})
	}
}

func TestCommandNotInImage(t *testing.T) {
	w := apply(t, aWorker("no-command", func(spec *api.StormWorkerSpec) {
		spec.Command, spec.RestartPolicy = []string{"no-such-program"}, api.RestartNever
	}))
	c := waitFor(t, w, api.ReasonCommandNotFound)
	expect(t).Expect(c.Message).To(ContainSubstring("spec.command[0]"))
	expect(t).Expect(logOf(t, w)).To(ContainSubstring("no-such-program"))
}

func TestSecondWorkerOnAPort(t *testing.T) {
	first := apply(t, aWorker("first", func(spec *api.StormWorkerSpec) { spec.NodeName = stack.NodeName }))
	waitFor(t, first, api.ReasonRunning)
	second := apply(t, aWorker("second", func(spec *api.StormWorkerSpec) {
		spec.NodeName, spec.Port = stack.NodeName, first.Spec.Port
	}))
	c := waitFor(t, second, api.ReasonPortInUse)
	expect(t).Expect(c.Message).To(ContainSubstring("StormWorker first;"))
	remove(t, first)
	waitFor(t, second, api.ReasonRunning)
}

func TestMissingBindMountSource(t *testing.T) {
	g := expect(t)
	g.Expect(os.Rename(s.Path("bind"), s.Path("bind.away"))).To(Succeed())
	w := apply(t, aWorker("no-bind"))
	c := waitFor(t, w, api.ReasonBindSourceMissing)
	g.Expect(c.Message).To(And(ContainSubstring(s.Path("bind")), ContainSubstring("storm.oci.readonly.bindmounts")))
	g.Expect(os.Rename(s.Path("bind.away"), s.Path("bind"))).To(Succeed())
	waitFor(t, w, api.ReasonRunning)
}

// TestDamagedLayers: what the store holds is never taken for what it says.
func TestDamagedLayers(t *testing.T) {
	g := expect(t)
	layers, err := filepath.Glob(s.Path("store", "layers", "*.sqsh"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layers).NotTo(BeEmpty())
	layer := layers[0]
	whole, err := os.ReadFile(layer)
	g.Expect(err).NotTo(HaveOccurred())
	altered := append([]byte{}, whole...)
	altered[len(altered)/2] ^= 1

	put := func(content []byte) {
		temp := layer + ".new"
		g.Expect(os.WriteFile(temp, content, 0o444)).To(Succeed())
		g.Expect(os.Rename(temp, layer)).To(Succeed())
	}
	t.Cleanup(func() { put(whole) })
	emptyCache(t)
	put(altered)
	w := apply(t, aWorker("altered"))
	c := waitFor(t, w, api.ReasonImageCorrupt)
	g.Expect(c.Message).To(ContainSubstring("sha256:"))
	put(whole)
	waitFor(t, w, api.ReasonRunning)
	remove(t, w)

	put(whole[:len(whole)/2])
	emptyCache(t)
	truncated := apply(t, aWorker("truncated"))
	g.Eventually(func() string { return ready(t, truncated).Reason }).Should(BeElementOf(api.ReasonImageCorrupt, api.ReasonImageNotResolved))
	put(whole)
	waitFor(t, truncated, api.ReasonRunning)
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
