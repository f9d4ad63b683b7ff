package live_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/live"
)

func TestCPUMillis(t *testing.T) {
	begun := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	read := func(at time.Duration, cpu time.Duration, attempt int32, id string) connect.StormWorkerStats {
		return connect.StormWorkerStats{
			Time: metav1.NewMicroTime(begun.Add(at)), CPUNanoseconds: cpu.Nanoseconds(), Attempt: attempt, ContainerID: id,
		}
	}
	for _, test := range []struct {
		name          string
		before, after connect.StormWorkerStats
		want          int64
		ok            bool
	}{
		{"half a core", read(0, time.Hour, 0, "a"), read(500*time.Millisecond, time.Hour+250*time.Millisecond, 0, "a"), 500, true},
		{"idle", read(0, time.Hour, 0, "a"), read(time.Second, time.Hour, 0, "a"), 0, true},
		{"many cores", read(0, 0, 0, "a"), read(time.Second, 12*time.Second, 0, "a"), 12000, true},
		{"rounded", read(0, 0, 0, "a"), read(3*time.Second, 2*time.Second, 0, "a"), 667, true},
		{"started again", read(0, time.Second, 0, "a"), read(time.Second, 2*time.Second, 1, "a"), 0, false},
		{"another container", read(0, time.Second, 0, "a"), read(time.Second, 2*time.Second, 0, "b"), 0, false},
		{"counter went back", read(0, time.Second, 0, "a"), read(time.Second, 0, 0, "a"), 0, false},
		{"the same reading", read(0, time.Second, 0, "a"), read(0, time.Second, 0, "a"), 0, false},
		{"the clock went back", read(time.Second, time.Second, 0, "a"), read(0, 2*time.Second, 0, "a"), 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, ok := live.CPUMillis(test.before, test.after); got != test.want || ok != test.ok {
				t.Errorf("got %d, %t; want %d, %t", got, ok, test.want, test.ok)
			}
		})
	}
}
