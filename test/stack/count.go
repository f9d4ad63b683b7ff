package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// count looks at what there is.
func (s *Stack) count() (census, error) {
	c := census{}
	for _, add := range []func(census) error{s.countMounts, s.countLoopDevices, s.countCgroups, s.countProcesses, s.countDirectories} {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *Stack) countMounts(c census) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.Dir))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		if name, _ := strings.CutPrefix(m.Mountpoint, s.Dir+"/"); s.faults && slices.Contains(Disks, name) {
			continue
		}
		c["mount "+m.Mountpoint]++
	}
	return nil
}

func (s *Stack) countLoopDevices(c census) error {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, b := range backing {
		content, err := os.ReadFile(b)
		file := strings.TrimSuffix(strings.TrimSpace(string(content)), " (deleted)")
		if err == nil && strings.HasPrefix(file, s.Dir+"/") {
			c["loop device of "+file]++
		}
	}
	return nil
}

func (s *Stack) countCgroups(c census) error {
	dirs, err := s.CgroupDirs("*-*-*-*-*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		c["cgroup "+dir]++
	}
	return nil
}

// hierarchies are the mounts of cgroups: version 1 has many, version 2 has one.
func (s *Stack) hierarchies() ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var dirs []string
	for _, m := range mounts {
		if strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup") {
			dirs = append(dirs, m.Mountpoint)
		}
	}
	return dirs, nil
}

// CgroupDirs lists the cgroups below the stack's parent whose names match a
// pattern, in every hierarchy that is mounted. The pattern "" matches the
// parent itself.
func (s *Stack) CgroupDirs(pattern string) ([]string, error) {
	hierarchies, err := s.hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range hierarchies {
		found, err := filepath.Glob(filepath.Join(h, s.CgroupParent(), pattern))
		if err != nil {
			return nil, fmt.Errorf("cgroups that match %q: %w", pattern, err)
		}
		dirs = append(dirs, found...)
	}
	return dirs, nil
}

// countProcesses counts the processes in workers' cgroups, and those that name
// the stack's directory in their command line: conmon, runc, and workers' own
// shells. What a worker's first process has started is its own business.
func (s *Stack) countProcesses(c census) error {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range found {
		content, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(content) == 0 {
			continue // it has ended, and may not be reaped yet
		}
		line := strings.ReplaceAll(string(content), "\x00", " ")
		id, monitor := s.groupOf(dir)
		switch {
		case monitor && strings.Contains(line, " --cid "+id+" "):
			c["process conmon of "+id]++
		case id != "" && !monitor:
			if namespacePID(dir) == 1 {
				c["process first of "+id]++
			}
		case id != "", strings.Contains(line, s.Dir) && !s.ours(line):
			c["process "+line]++
		}
	}
	return nil
}

// groupOf returns the container in whose cgroup a process is, by its directory
// in /proc, and whether it is the one of its monitor.
func (s *Stack) groupOf(dir string) (id string, monitor bool) {
	content, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return "", false
	}
	_, below, ok := strings.Cut(string(content), ":"+s.CgroupParent()+"/")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(below, "\n")
	name, _, _ = strings.Cut(name, "/")
	return strings.CutPrefix(name, "conmon-")
}

// namespacePID is the pid of a process in its own namespace.
func namespacePID(dir string) int {
	content, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(pids)
			pid, _ := strconv.Atoi(fields[len(fields)-1])
			return pid
		}
	}
	return 0
}

// ours tells whether a command line is of the stack's own daemons.
func (s *Stack) ours(line string) bool {
	return strings.Contains(line, s.bin) || strings.Contains(line, "kube-apiserver") || strings.Contains(line, "etcd")
}

func (s *Stack) countDirectories(c census) error {
	for _, pattern := range []string{
		s.Path("run", "workers", "*"), s.Path("run", "workers", "*", "*"), s.Path("run", "layers", "*"),
		s.Path("run", "exits", "*"), s.Path("run", "runc", "*"), s.Path("storm", "stormcell", "topologies", "*"), s.Path("storm", "stormcell", "topologies", "*", "*"),
		s.Path("storm", "workers", "*"), s.Path("storm", "workers-users", "*"), s.Path("storm", "supervisor", "stormdist", "*"),
		s.Path("log", "*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, f := range found {
			c["directory "+f]++
		}
	}
	return nil
}
