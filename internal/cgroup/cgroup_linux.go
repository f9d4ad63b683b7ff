// Package cgroup finds and ends the processes of containers by their cgroups,
// and reads what the kernel counts there, in trees of version 1 and 2.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/kernelfile"
	"github.com/stormcell/stormcell/internal/process"
)

// killLimit is how long processes may take to end after SIGKILL.
const killLimit = 10 * time.Second

// Tree is where the cgroups of containers are: below one parent, in every
// hierarchy that the machine has.
type Tree struct {
	parent      string
	hierarchies func() ([]hierarchy, error)
}

// New returns the cgroups below parent, which is absolute below root, where the
// host's cgroups are mounted.
func New(root, parent string) *Tree {
	return &Tree{parent: parent, hierarchies: sync.OnceValues(func() ([]hierarchy, error) { return findHierarchies(root) })}
}

// hierarchy is one mounted tree of cgroups. Version 1 has one per controller
// and one of systemd's; version 2 has one in all, and may stand beside them.
type hierarchy struct {
	mount string
	// controllers are those of version 1, as the mount options name them.
	controllers []string
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// findHierarchies lists what is mounted at and below root.
func findHierarchies(root string) ([]hierarchy, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer table.Close()
	found, err := parseHierarchies(table, root)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted below %s (storm.oci.cgroup.root)", root)
	}
	return found, nil
}

// parseHierarchies finds them in a table like /proc/self/mountinfo.
func parseHierarchies(table io.Reader, root string) ([]hierarchy, error) {
	root = filepath.Clean(root)
	mounts, err := mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) {
		inside := m.Mountpoint == root || strings.HasPrefix(m.Mountpoint, strings.TrimSuffix(root, "/")+"/")
		return !inside || m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	var found []hierarchy
	for _, m := range mounts {
		h := hierarchy{mount: m.Mountpoint}
		if m.FSType == "cgroup" {
			h.controllers = strings.Split(m.VFSOptions, ",")
		}
		found = append(found, h)
	}
	return found, err
}

// Dirs are the directories of a cgroup below the parent, one for each
// hierarchy.
func (t *Tree) Dirs(name string) ([]string, error) {
	hierarchies, err := t.hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range hierarchies {
		dirs = append(dirs, filepath.Join(h.mount, t.parent, name))
	}
	return dirs, nil
}

// Groups lists the cgroups right below the parent whose names begin with prefix,
// in no order, each once.
func (t *Tree) Groups(prefix string) ([]string, error) {
	parents, err := t.Dirs("")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, parent := range parents {
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
				names[e.Name()] = true
			}
		}
	}
	return slices.Collect(maps.Keys(names)), nil
}

// Join moves process pid into the cgroup name in every hierarchy: whoever
// kills by cgroup takes any one of them.
func (t *Tree) Join(name string, pid int) error {
	hierarchies, err := t.hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		dir := filepath.Join(h.mount, t.parent, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if h.has("cpuset") {
			if err := inheritCpuset(h.mount, dir); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// inheritCpuset fills the CPUs and memory nodes of new cgroups from their
// parents': version 1 lets no process into a cgroup that has none.
func inheritCpuset(mount, dir string) error {
	if parent := filepath.Dir(dir); parent != mount {
		if err := inheritCpuset(mount, parent); err != nil {
			return err
		}
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := kernelfile.Read(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		above, err := kernelfile.Read(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), above, 0); err != nil {
			return fmt.Errorf("inherit cpuset: %w", err)
		}
	}
	return nil
}

// Members lists the processes of a cgroup and of those below it, in all
// hierarchies.
func (t *Tree) Members(name string) (map[int]bool, error) {
	dirs, err := t.Dirs(name)
	if err != nil {
		return nil, err
	}
	pids := map[int]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				err = addMembers(pids, path)
			}
			// A cgroup may go while it is read.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("processes of cgroup %s: %w", dir, err)
		}
	}
	return pids, nil
}

func addMembers(pids map[int]bool, dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for word := range strings.FieldsSeq(string(content)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("cgroup.procs: %w", err)
		}
		if pid > 0 { // 0 is a process of another pid namespace
			pids[pid] = true
		}
	}
	return nil
}

// hold opens the members of a cgroup. They are looked up again after that, so
// that none is a process that only got the pid of one that has ended.
func (t *Tree) hold(name string) (handles []*process.Handle, err error) {
	defer func() {
		if err != nil {
			closeAll(handles)
			handles = nil
		}
	}()
	before, err := t.Members(name)
	if err != nil {
		return nil, err
	}
	for pid := range before {
		h, err := process.OpenPID(pid)
		if err != nil {
			return handles, err
		}
		if h != nil {
			handles = append(handles, h)
		}
	}
	after, err := t.Members(name)
	if err != nil {
		return handles, err
	}
	return slices.DeleteFunc(handles, func(h *process.Handle) bool {
		if !after[h.PID()] {
			h.Close()
		}
		return !after[h.PID()]
	}), nil
}

func closeAll(handles []*process.Handle) {
	for _, h := range handles {
		h.Close()
	}
}

// Signal sends sig to every process of a cgroup.
func (t *Tree) Signal(name string, sig syscall.Signal) error {
	handles, err := t.hold(name)
	if err != nil {
		return err
	}
	defer closeAll(handles)
	var errs []error
	for _, h := range handles {
		errs = append(errs, h.Signal(sig))
	}
	return errors.Join(errs...)
}

// Kill kills all processes of a cgroup and waits for their end. It looks
// again until there is none, since they may have forked meanwhile.
func (t *Tree) Kill(ctx context.Context, name string) error {
	for {
		handles, err := t.hold(name)
		if err != nil || len(handles) == 0 {
			return err
		}
		if err := killEach(ctx, handles); err != nil {
			return fmt.Errorf("kill cgroup %s: %w", name, err)
		}
	}
}

func killEach(ctx context.Context, handles []*process.Handle) error {
	defer closeAll(handles)
	var errs []error
	for _, h := range handles { // all at once, then one after the other
		errs = append(errs, h.Signal(syscall.SIGKILL))
	}
	for _, h := range handles {
		errs = append(errs, h.Kill(ctx, killLimit))
	}
	return errors.Join(errs...)
}

// Remove deletes a cgroup without processes from every hierarchy.
func (t *Tree) Remove(ctx context.Context, name string) error {
	dirs, err := t.Dirs(name)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := removeTree(ctx, dir); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// removeTree deletes a cgroup and those below it.
func removeTree(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return removeEmpty(ctx, dir)
}

// removeEmpty deletes one cgroup. The kernel reports the end of a process a
// little before the process has left its cgroup, and tells of the latter in
// version 2 only; so a busy one is tried again until the context ends.
func removeEmpty(ctx context.Context, dir string) error {
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}

// Resource is what a cgroup can be held to: a file of a controller, whose name
// depends on the version of cgroups.
type Resource struct{ controller, file, unifiedFile string }

var (
	// Pids are processes and threads, together.
	Pids = Resource{"pids", "pids.max", "pids.max"}
	// Memory is memory in bytes.
	Memory = Resource{"memory", "memory.limit_in_bytes", "memory.max"}
)

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
		content, err := kernelfile.Read(filepath.Join(h.mount, t.parent, group, file))
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
