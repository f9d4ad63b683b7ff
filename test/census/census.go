// Package census counts what is of workers on a machine: mounts, loop devices,
// cgroups, processes and directories. It looks at the kernel and at the disk,
// and asks no part of stormcell.
package census

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Census is what there is, by a name that begins with its kind, such as
// "mount /a/b", and how often.
type Census map[string]int

// Kinds are those of things that a Census counts, in the order in which they are told.
var Kinds = []string{"mount", "loop device", "cgroup", "process", "directory"}

// Names lists what there is, sorted.
func (c Census) Names() []string { return slices.Sorted(maps.Keys(c)) }

// Places are where a node-agent keeps what is of its workers, by its
// configuration; all but CgroupParent are absolute paths of directories.
type Places struct {
	RunRoot  string `json:"runRoot"`
	LocalDir string `json:"localDir"`
	CacheDir string `json:"cacheDir"`
	LogDir   string `json:"logDir"`
	// CgroupParent is below each hierarchy's root and begins with "/".
	CgroupParent string `json:"cgroupParent"`
}

// Count looks at what there is.
func (p Places) Count() (Census, error) {
	c := Census{}
	for _, add := range []func(Census) error{p.countMounts, p.countLoopDevices, p.countCgroups, p.countProcesses, p.countDirectories} {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// countMounts counts what is mounted below the places; a place may be a file
// system of its own.
func (p Places) countMounts(c Census) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		for _, place := range []string{p.RunRoot, p.LocalDir, p.CacheDir, p.LogDir} {
			if strings.HasPrefix(m.Mountpoint, place+"/") {
				c["mount "+m.Mountpoint]++
				break
			}
		}
	}
	return nil
}

func (p Places) countLoopDevices(c Census) error {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, b := range backing {
		content, err := os.ReadFile(b)
		file := strings.TrimSuffix(strings.TrimSpace(string(content)), " (deleted)")
		if err == nil && strings.HasPrefix(file, p.CacheDir+"/") {
			c["loop device of "+file]++
		}
	}
	return nil
}

func (p Places) countCgroups(c Census) error {
	dirs, err := p.CgroupDirs("*-*-*-*-*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		c["cgroup "+dir]++
	}
	return nil
}

// Hierarchies are the mounts of cgroups: version 1 has many, version 2 has one.
func Hierarchies() ([]string, error) {
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

// CgroupDirs lists the cgroups below the parent whose names match a pattern,
// in every hierarchy that is mounted. The pattern "" matches the parent itself.
func (p Places) CgroupDirs(pattern string) ([]string, error) {
	hierarchies, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range hierarchies {
		found, err := filepath.Glob(filepath.Join(h, p.CgroupParent, pattern))
		if err != nil {
			return nil, fmt.Errorf("cgroups that match %q: %w", pattern, err)
		}
		dirs = append(dirs, found...)
	}
	return dirs, nil
}

// countProcesses counts the processes in workers' cgroups, and those that name
// a place in their command line: conmon, runc, and workers' own shells. What a
// worker's first process has started is its own business.
func (p Places) countProcesses(c Census) error {
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
		id, monitor := p.groupOf(dir)
		switch {
		case monitor && strings.Contains(line, " --cid "+id+" "):
			c["process conmon of "+id]++
		case id != "" && !monitor:
			if namespacePID(dir) == 1 {
				c["process first of "+id]++
			}
		case id != "", strings.Contains(line, p.RunRoot+"/"), strings.Contains(line, p.LocalDir+"/"):
			c["process "+line]++
		}
	}
	return nil
}

// groupOf returns the container in whose cgroup a process is, by its directory
// in /proc, and whether it is the one of its monitor.
func (p Places) groupOf(dir string) (id string, monitor bool) {
	content, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return "", false
	}
	_, below, ok := strings.Cut(string(content), ":"+p.CgroupParent+"/")
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

func (p Places) countDirectories(c Census) error {
	for place, patterns := range map[string][]string{
		p.RunRoot:  {"workers/*", "workers/*/*", "layers/*", "exits/*", "runc/*"},
		p.LocalDir: {"stormcell/topologies/*", "stormcell/topologies/*/*", "workers/*", "workers-users/*", "supervisor/stormdist/*"},
		p.LogDir:   {"*"},
	} {
		for _, pattern := range patterns {
			found, err := filepath.Glob(filepath.Join(place, pattern))
			if err != nil {
				return err
			}
			for _, f := range found {
				c["directory "+f]++
			}
		}
	}
	return nil
}
