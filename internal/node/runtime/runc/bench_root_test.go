package runc

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkCreateStart measures a warm start, in turn with a bare "runc run -d".
func BenchmarkCreateStart(bench *testing.B) {
	b := newBox(bench)
	b.spec([]string{"sleep"}, nil)
	var ours, bare []time.Duration
	for bench.Loop() {
		begin := time.Now()
		b.launch()
		ours = append(ours, time.Since(begin))
		b.must(b.Delete(bench.Context(), testID))

		begin = time.Now()
		// No pipes: the container would keep them open.
		err := exec.Command(b.options.Runc, "--root", b.stateRoot(), "run", "-d", "-b", b.bundle, testID).Run()
		bare = append(bare, time.Since(begin))
		b.must(err)
		b.must(b.Delete(bench.Context(), testID))
	}
	slices.Sort(ours)
	slices.Sort(bare)
	bench.ReportMetric(float64(ours[len(ours)/2].Microseconds())/1000, "ms-ours")
	bench.ReportMetric(float64(bare[len(bare)/2].Microseconds())/1000, "ms-runc")
}
