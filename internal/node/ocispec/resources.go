package ocispec

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrNoZone is a NUMA zone that supervisor.numa.meta does not have.
var ErrNoZone = errors.New("no such NUMA zone in supervisor.numa.meta")

const (
	// cpuPeriod is the length of the scheduler's period in microseconds.
	cpuPeriod = 100_000
	// minQuota is the least quota that the kernel takes, in microseconds.
	minQuota = 1000
	mebibyte = 1 << 20
)

// Resources are the limits of the worker's cgroup: all devices denied (the
// runtime allows the harmless ones by itself), CPU time, memory and NUMA zone.
// It fails for a NUMA zone that the node does not have.
func Resources(in Input) (*specs.LinuxResources, error) {
	cpu, err := cpuLimits(in)
	if err != nil {
		return nil, err
	}
	return &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		CPU:     cpu,
		Memory:  memoryLimits(in),
	}, nil
}

func cpuLimits(in Input) (*specs.LinuxCPU, error) {
	var cpu specs.LinuxCPU
	if quota := cpuQuota(in); quota > 0 {
		period := uint64(cpuPeriod)
		cpu.Quota, cpu.Period = &quota, &period
	}
	zone, ok, err := numaZone(in)
	if err != nil {
		return nil, err
	}
	if ok {
		cpu.Cpus, cpu.Mems = coreList(in.Policy.NUMA[zone].Cores), strconv.Itoa(zone)
	}
	if cpu == (specs.LinuxCPU{}) {
		return nil, nil //nolint:nilnil // no limits is a value of the specification
	}
	return &cpu, nil
}

// cpuQuota is the CPU time per period in microseconds, 0 for no limit. The
// node's storm.worker.cgroup.cpu.limit goes before the worker's own limit.
func cpuQuota(in Input) int64 {
	quota := in.Worker.CPUMillis * (cpuPeriod / 1000)
	if percent := in.Policy.Worker.CPUPercent; percent > 0 {
		quota = int64(math.Ceil(percent)) * (cpuPeriod / 100)
	}
	if quota <= 0 {
		return 0
	}
	return max(quota, minQuota)
}

// numaZone is the zone that the worker names, or the one that has its port.
func numaZone(in Input) (zone int, ok bool, err error) {
	if z := in.Worker.NUMAZone; z != nil {
		if _, ok := in.Policy.NUMA[*z]; !ok {
			return 0, false, fmt.Errorf("%w: zone %d of worker %s/%s", ErrNoZone, *z, in.Worker.Namespace, in.Worker.Name)
		}
		return *z, true, nil
	}
	for _, z := range slices.Sorted(maps.Keys(in.Policy.NUMA)) {
		if slices.Contains(in.Policy.NUMA[z].Ports, in.Worker.Port) {
			return z, true, nil
		}
	}
	return 0, false, nil
}

func coreList(cores []int) string {
	var words []string
	for _, c := range cores {
		words = append(words, strconv.Itoa(c))
	}
	return strings.Join(words, ",")
}

// memoryLimits are nil unless storm.cgroup.memory.enforcement.enable is set.
// The limit counts for memory and swap together, so that a worker over its
// limit is killed and does not slow its node down by swapping.
func memoryLimits(in Input) *specs.LinuxMemory {
	limit := in.Worker.MemoryBytes
	if mb := in.Policy.Worker.MemoryMB; mb > 0 {
		limit = int64(math.Ceil(mb)) * mebibyte
	}
	if !in.Policy.Worker.EnforceMemory || limit <= 0 {
		return nil
	}
	memory := &specs.LinuxMemory{Limit: &limit}
	if in.Host.SwapAccounting {
		swap := limit
		memory.Swap = &swap
	}
	return memory
}
