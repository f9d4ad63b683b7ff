package rootfs

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/node/loopdev"
)

// BenchmarkMountSevenLayers measures from files on disk, none mounted, to a
// root file system that is ready; "in-steps" attaches as Storm's original does.
func BenchmarkMountSevenLayers(b *testing.B) {
	for _, way := range []struct {
		name   string
		attach func(*os.File) (*loopdev.Device, error)
	}{{"configure", loopdev.Attach}, {"in-steps", loopdev.AttachInSteps}} {
		b.Run(way.name, func(b *testing.B) {
			n := newNode(b)
			m := n.manager(0, nil)
			m.attach = way.attach
			layers := n.layers(7)
			layers[0] = n.layer("big", tree{"big": string(bytes.Repeat([]byte("0123456789abcdef"), 4<<20))})
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				n.mount(m, "w", layers)
				times = append(times, time.Since(start))
				b.StopTimer()
				n.unmount(m, "w")
				b.StartTimer()
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(times[len(times)*95/100].Microseconds())/1000, "ms-p95")
		})
	}
}

// BenchmarkMountWarm measures a root file system whose layers are mounted.
func BenchmarkMountWarm(b *testing.B) {
	n := newNode(b)
	m := n.manager(0, nil)
	layers := n.layers(7)
	n.mount(m, "other", layers)
	for b.Loop() {
		n.mount(m, "w", layers)
		n.unmount(m, "w")
	}
	n.unmount(m, "other")
}
