package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/image"
	"github.com/stormcell/stormcell/test/stack"
)

// manyLayers do not fit one page of mount options by their paths.
const manyLayers = 120

// pushLayers puts an image of many layers into the store, once.
func pushLayers(t *testing.T) {
	t.Helper()
	archive := s.Path("layers.tar")
	if _, err := os.Stat(archive); err == nil {
		return
	}
	if err := image.WriteLayers(archive, stack.OtherImage, manyLayers); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), "docker-archive:"+archive, stack.OtherImage); err != nil {
		t.Fatal(err)
	}
}

// layerMounts lists the layers that are mounted.
func layerMounts(t *testing.T) []string {
	t.Helper()
	mounts, err := filepath.Glob(s.Path("run", "layers", "*", "mnt"))
	if err != nil {
		t.Fatal(err)
	}
	return mounts
}

// loopDevices counts the loop devices of layers.
func loopDevices(t *testing.T) (count int) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if backing, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(backing), s.Path("cache")) {
			count++
		}
	}
	return count
}

// TestImageOf120Layers: the top layer wins, and what an upper layer deletes of
// a lower one is gone.
func TestImageOf120Layers(t *testing.T) {
	g := expect(t)
	pushLayers(t)
	w := apply(t, aWorker("layers", func(spec *api.StormWorkerSpec) {
		spec.Image = stack.OtherImage
		spec.Command = shell(`cd /layers; all=(*); echo "top=$(</top) files=${#all[@]} last=${all[-1]}"; ` + forever)
	}))
	waitFor(t, w, api.ReasonRunning)
	// Every layer adds a file, and deletes that of the layer below, if it is even.
	g.Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("top=119 files=60 last=119\n"))
	g.Expect(layerMounts(t)).To(HaveLen(manyLayers))
	g.Expect(loopDevices(t)).To(Equal(manyLayers))
	remove(t, w)
	g.Expect(s.Leftovers()).To(BeEmpty())
}

// configure changes the agent's configuration and starts it anew, until the end
// of the test.
func configure(t *testing.T, changes ...string) {
	t.Helper()
	file := s.Path("storm.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(content string) {
		t.Helper()
		g := expect(t)
		g.Expect(os.WriteFile(file+".new", []byte(content), 0o600)).To(Succeed())
		g.Expect(os.Rename(file+".new", file)).To(Succeed())
		g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
		started := time.Now()
		g.Expect(s.StartAgent()).To(Succeed())
		g.Expect(s.AwaitAgent(context.Background(), started)).To(Succeed())
	}
	t.Cleanup(func() { put(string(before)) })
	put(strings.NewReplacer(changes...).Replace(string(before)))
}

// TestFiftyWorkersShareLayers: one mount and one loop device for each layer,
// as long as one worker uses it; no want of room takes it away, nor its file.
func TestFiftyWorkersShareLayers(t *testing.T) {
	const count, layers = 50, 2
	g := expect(t)
	pushLayers(t)
	emptyCache(t) // of layers that nobody uses
	var workers []*api.StormWorker
	for i := range count {
		workers = append(workers, apply(t, aWorker(fmt.Sprintf("shares-%d", i), func(spec *api.StormWorkerSpec) {
			spec.Command, spec.TerminationGracePeriodSeconds = []string{"sleep", "infinity"}, new(int64(0))
		})))
	}
	for _, w := range workers {
		waitFor(t, w, api.ReasonRunning)
	}
	g.Expect(layerMounts(t)).To(HaveLen(layers))
	g.Expect(loopDevices(t)).To(Equal(layers))

	// No room for anything.
	files := cached(t)
	const keep, limit = "storm.oci.layer.mounts.to.keep: ", "stormcell.cache.max.bytes: "
	const all, none = limit + "1099511627776\n", limit + "1\n"
	configure(t, all, none)
	other := apply(t, aWorker("wants-room", func(spec *api.StormWorkerSpec) { spec.Image = stack.OtherImage }))
	waitFor(t, other, api.ReasonDiskFull)
	remove(t, other)
	g.Expect(cached(t)).To(Equal(files), "files in use stay, and no other comes")

	// One layer is kept when nobody uses it, and the file has room.
	configure(t, none, all, keep+"0", keep+"1")
	for _, w := range workers[1:] {
		g.Expect(s.Client.Delete(t.Context(), w)).To(Succeed())
	}
	for _, w := range workers[1:] {
		remove(t, w)
	}
	g.Expect(ready(t, workers[0]).Reason).To(Equal(api.ReasonRunning))
	g.Expect(layerMounts(t)).To(HaveLen(layers), "one worker uses them")
	remove(t, workers[0])
	g.Expect(layerMounts(t)).To(HaveLen(1), "one is kept")
	g.Expect(loopDevices(t)).To(Equal(1))
}
