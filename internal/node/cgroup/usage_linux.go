package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// userHZ is how many ticks of cpuacct.stat make a second: what "getconf CLK_TCK"
// prints, on all that Go runs on.
const userHZ = 100

// Usage is what the kernel counts of a cgroup, and its limits. What belongs to a
// controller that the machine or the cgroup has not is nil.
type Usage struct {
	Memory *MemoryUsage
	CPU    *CPUUsage
	// Pids is the number of processes and threads.
	Pids *uint64
}

// MemoryUsage is a cgroup's memory, in bytes.
type MemoryUsage struct {
	Usage uint64
	// Limit is 0 for none.
	Limit uint64
	// OOMKills are processes that were killed for the limit.
	OOMKills uint64
}

// CPUUsage is a cgroup's CPU time, all since the cgroup was made.
type CPUUsage struct {
	User, System time.Duration
	// Cores is the limit: quota by period. It is 0 for none.
	Cores float64
	// Periods in which a process of a cgroup with a limit could run, the number of
	// those that used up the quota, and how long processes then waited.
	Periods, ThrottledPeriods uint64
	Throttled                 time.Duration
}

// Usage reads what the kernel counts of a cgroup. fs.ErrNotExist if it is not
// there, or goes meanwhile.
func (t *Tree) Usage(name string) (Usage, error) {
	hierarchies, err := t.hierarchies()
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for _, h := range hierarchies {
		f := &files{dir: filepath.Join(h.mount, t.parent, name)}
		switch {
		case h.controllers != nil:
			f.readVersion1(h, &u)
		case len(hierarchies) == 1: // beside version 1, it has no controllers
			f.readUnified(&u)
		}
		if f.err != nil {
			return Usage{}, fmt.Errorf("usage of cgroup %s: %w", name, f.err)
		}
	}
	return u, nil
}

// readVersion1 reads what the controllers of one hierarchy of version 1 count.
func (f *files) readVersion1(h hierarchy, u *Usage) {
	if h.has("memory") {
		u.Memory = &MemoryUsage{
			Usage: f.number("memory.usage_in_bytes"), Limit: f.limit("memory.limit_in_bytes"),
			OOMKills: f.table("memory.oom_control")["oom_kill"],
		}
	}
	if h.has("cpuacct") {
		stat, cpu := f.table("cpuacct.stat"), u.cpu()
		cpu.User, cpu.System = duration(stat["user"], time.Second/userHZ), duration(stat["system"], time.Second/userHZ)
	}
	if h.has("cpu") {
		stat, cpu := f.table("cpu.stat"), u.cpu()
		cpu.Cores = cores(f.limit("cpu.cfs_quota_us"), f.number("cpu.cfs_period_us"))
		cpu.Periods, cpu.ThrottledPeriods, cpu.Throttled = stat["nr_periods"], stat["nr_throttled"], duration(stat["throttled_time"], time.Nanosecond)
	}
	if h.has("pids") {
		u.Pids = new(f.number("pids.current"))
	}
}

// readUnified reads what the controllers of version 2 count.
func (f *files) readUnified(u *Usage) {
	controllers := strings.Fields(string(f.read("cgroup.controllers")))
	if slices.Contains(controllers, "memory") {
		u.Memory = &MemoryUsage{Usage: f.number("memory.current"), Limit: f.limit("memory.max"), OOMKills: f.table("memory.events")["oom_kill"]}
	}
	if slices.Contains(controllers, "cpu") {
		stat := f.table("cpu.stat")
		quota, period, _ := bytes.Cut(f.read("cpu.max"), []byte(" "))
		u.CPU = &CPUUsage{
			User: duration(stat["user_usec"], time.Microsecond), System: duration(stat["system_usec"], time.Microsecond),
			Cores:   cores(f.parse("cpu.max", quota, parseLimit), f.parse("cpu.max", period, parseNumber)),
			Periods: stat["nr_periods"], ThrottledPeriods: stat["nr_throttled"], Throttled: duration(stat["throttled_usec"], time.Microsecond),
		}
	}
	if slices.Contains(controllers, "pids") {
		u.Pids = new(f.number("pids.current"))
	}
}

// cpu is for version 1, where two hierarchies know of it.
func (u *Usage) cpu() *CPUUsage {
	if u.CPU == nil {
		u.CPU = &CPUUsage{}
	}
	return u.CPU
}

// cores is a quota of CPU time by its period, both in microseconds.
func cores(quota, period uint64) float64 {
	if period == 0 {
		return 0
	}
	return float64(quota) / float64(period)
}

// duration is n times unit, or the longest duration there is.
func duration(n uint64, unit time.Duration) time.Duration {
	if n > uint64(math.MaxInt64/unit) { //nolint:gosec // both are positive
		return math.MaxInt64
	}
	return time.Duration(n) * unit //nolint:gosec // it fits, see above
}

// files reads the files of one cgroup in one hierarchy, until the first error.
type files struct {
	dir string
	err error
}

func (f *files) number(name string) uint64 { return f.parse(name, f.read(name), parseNumber) }
func (f *files) limit(name string) uint64  { return f.parse(name, f.read(name), parseLimit) }

func (f *files) read(name string) []byte {
	if f.err != nil {
		return nil
	}
	content, err := smallfile.Read(filepath.Join(f.dir, name))
	if errors.Is(err, unix.ENODEV) { // it was open when its cgroup went
		err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	f.err = err
	return content
}

func (f *files) parse(name string, content []byte, parse func([]byte) (uint64, error)) uint64 {
	if f.err != nil {
		return 0
	}
	n, err := parse(content)
	if err != nil {
		f.err = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

func (f *files) table(name string) map[string]uint64 {
	content := f.read(name)
	if f.err != nil {
		return nil
	}
	table, err := parseTable(content)
	if err != nil {
		f.err = fmt.Errorf("%s: %w", name, err)
	}
	return table
}

// parseNumber reads the number that a file consists of.
func parseNumber(content []byte) (uint64, error) {
	return strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
}

// noLimit and above are version 1's way to say that memory has no limit: the
// most that a number of pages can be, which depends on their size.
const noLimit = 1 << 62

// parseLimit reads a limit. None, which is 0 then, has three spellings.
func parseLimit(content []byte) (uint64, error) {
	if s := strings.TrimSpace(string(content)); s == "max" || s == "-1" {
		return 0, nil
	}
	n, err := parseNumber(content)
	if n >= noLimit {
		n = 0
	}
	return n, err
}

// parseTable reads lines of a name and a number each.
func parseTable(content []byte) (map[string]uint64, error) {
	table := map[string]uint64{}
	for line := range strings.Lines(string(content)) {
		name, number, _ := strings.Cut(line, " ")
		n, err := parseNumber([]byte(number))
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		table[name] = n
	}
	return table, nil
}
