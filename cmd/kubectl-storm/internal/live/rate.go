package live

import (
	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// CPUMillis is how many thousandths of a processor a worker has used between
// two samples; false if they do not tell, as of two containers, or of one
// reading.
func CPUMillis(before, after connect.StormWorkerStats) (int64, bool) {
	elapsed := after.Time.Sub(before.Time.Time).Nanoseconds()
	used := after.CPUNanoseconds - before.CPUNanoseconds
	if before.ContainerID != after.ContainerID || before.Attempt != after.Attempt || elapsed <= 0 || used < 0 {
		return 0, false
	}
	return int64(float64(used)/float64(elapsed)*1000 + 0.5), true
}
