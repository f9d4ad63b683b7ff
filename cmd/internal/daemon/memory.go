package daemon

import (
	"fmt"
	"runtime/debug"
	"strconv"
)

// memoryLimitVariable has the memory limit of the daemon's container in bytes, as its
// pod's manifest sets it.
const memoryLimitVariable = "MEMORY_LIMIT"

// heapPercent of the container's memory are Go's. The rest is for what Go does not
// count, such as files in memory and programs that the daemon runs.
const heapPercent = 90

// LimitMemory has Go collect garbage more often, rather than exceed the memory limit of
// the container. The variable GOMEMLIMIT, which Go has read already, takes precedence.
func LimitMemory(getenv func(string) string) error {
	limit, err := memoryLimit(getenv)
	if err == nil && limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return err
}

// memoryLimit is the limit for Go in bytes; 0 is none, or Go's own.
func memoryLimit(getenv func(string) string) (int64, error) {
	text := getenv(memoryLimitVariable)
	if text == "" || getenv("GOMEMLIMIT") != "" {
		return 0, nil
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err != nil || limit <= 0 {
		return 0, fmt.Errorf("environment variable %s=%.40q: must be a number of bytes, such as the container's limits.memory", memoryLimitVariable, text)
	}
	return limit / 100 * heapPercent, nil
}
