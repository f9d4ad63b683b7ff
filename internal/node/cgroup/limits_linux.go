package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// Resource is what a cgroup can be held to: a file of a controller, whose name
// depends on the version of cgroups.
type Resource struct{ controller, file, unifiedFile string }

var (
	// Pids are processes and threads, together.
	Pids = Resource{"pids", "pids.max", "pids.max"}
	// Memory is memory in bytes.
	Memory = Resource{"memory", "memory.limit_in_bytes", "memory.max"}
	// CPU is CPU time in microseconds, of each CPUPeriod.
	CPU = Resource{"cpu", "cpu.cfs_quota_us", "cpu.max"}
)

// CPUPeriod is the period of the kernel's limit on CPU time, where nobody has set
// another.
const CPUPeriod = 100 * time.Millisecond

// Limit holds a cgroup that is there to at most limit of a resource.
func (t *Tree) Limit(group string, r Resource, limit int64) error {
	hierarchies, err := t.hierarchies()
	if err != nil {
		return err
	}
	file := r.file
	at := slices.IndexFunc(hierarchies, func(h hierarchy) bool { return h.has(r.controller) })
	if at < 0 {
		file = r.unifiedFile
		at = slices.IndexFunc(hierarchies, func(h hierarchy) bool { return len(h.controllers) == 0 })
	}
	if at < 0 {
		return fmt.Errorf("limit cgroup %s: this machine has no controller %s", group, r.controller)
	}
	path := filepath.Join(hierarchies[at].mount, t.parent, group, file)
	if err := os.WriteFile(path, []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		return fmt.Errorf("limit cgroup: %w", err)
	}
	return nil
}

// Counter is where the kernel counts what it has done to a cgroup: a line that
// begins with key, in a file whose name depends on the version of cgroups.
type Counter struct{ controller, file, unifiedFile, key string }

var (
	// OOMKills are processes that were killed for the cgroup's memory limit.
	OOMKills = Counter{"memory", "memory.oom_control", "memory.events", "oom_kill"}
	// DeniedForks are processes and threads that the limit on them prevented.
	DeniedForks = Counter{"pids", "pids.events", "pids.events", "max"}
)

// Count reads a counter of a cgroup; not ok if it is not there.
func (t *Tree) Count(group string, c Counter) (n int, ok bool) {
	hierarchies, err := t.hierarchies()
	if err != nil {
		return 0, false
	}
	for _, h := range hierarchies {
		file := c.unifiedFile
		if h.has(c.controller) {
			file = c.file
		}
		content, err := smallfile.Read(filepath.Join(h.mount, t.parent, group, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			if n, found := strings.CutPrefix(strings.TrimSpace(line), c.key+" "); found {
				n, err := strconv.Atoi(n)
				return n, err == nil
			}
		}
	}
	return 0, false
}
