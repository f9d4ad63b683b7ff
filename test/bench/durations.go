package main

import (
	"fmt"
	"slices"
	"time"
)

// median is the middle one of times, of an even number the later one.
func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

// p99 is the time that 99 of 100 do not exceed.
func p99(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[(len(sorted)*99+99)/100-1]
}

// spread tells the fastest and the slowest of times.
func spread(times []time.Duration) string {
	if slices.Max(times) < time.Second {
		return fmt.Sprintf("%.1f to %.1f ms", milliseconds(slices.Min(times)), milliseconds(slices.Max(times)))
	}
	return fmt.Sprintf("%.2f to %.2f s", slices.Min(times).Seconds(), slices.Max(times).Seconds())
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
