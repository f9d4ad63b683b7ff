package live

import (
	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// CPUMillis returns how many thousandths of a CPU a worker has used between two
// samples; false if they cannot be compared, as those of two containers or of the
// same reading.
func CPUMillis(before, after connect.StormWorkerStats) (int64, bool) {
	elapsed := after.Time.Sub(before.Time.Time).Nanoseconds()
	used := after.CPUNanoseconds - before.CPUNanoseconds
	if before.ContainerID != after.ContainerID || before.Attempt != after.Attempt || elapsed <= 0 || used < 0 {
		return 0, false
	}
	return int64(float64(used)/float64(elapsed)*1000 + 0.5), true
}
