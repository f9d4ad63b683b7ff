package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Leftovers lists what is of workers on this machine: mounts, loop devices,
// cgroups, processes of containers, directories. Empty when every worker is gone.
func (s *Stack) Leftovers() []string {
	var left []string
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.Dir))
	if err != nil {
		left = append(left, "mounts: "+err.Error())
	}
	for _, m := range mounts {
		left = append(left, "mount "+m.Mountpoint)
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, b := range backing {
		if file, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(file), s.Dir) {
			left = append(left, "loop device of "+strings.TrimSpace(string(file)))
		}
	}
	cgroups, err := s.CgroupDirs("*-*-*-*-*")
	if err != nil {
		left = append(left, "cgroups: "+err.Error())
	}
	for _, c := range cgroups {
		left = append(left, "cgroup "+c)
	}
	for what, pattern := range map[string]string{
		"directory": s.Path("run", "workers", "*"),
		"worker":    s.Path("storm", "workers", "*"),
		"user file": s.Path("storm", "workers-users", "*"),
		"exit file": s.Path("run", "exits", "*"),
		"container": s.Path("run", "runc", "*"),
		"logs":      s.Path("log", "*"),
	} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			left = append(left, what+" "+f)
		}
	}
	return append(left, s.processes()...)
}

// CgroupDirs lists the cgroups below the stack's parent whose names match a
// pattern, in every hierarchy that is mounted: version 1 has many, version 2
// has one. The pattern "" matches the parent itself.
func (s *Stack) CgroupDirs(pattern string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter("/sys/fs/cgroup"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var dirs []string
	for _, m := range mounts {
		found, err := filepath.Glob(filepath.Join(m.Mountpoint, s.CgroupParent(), pattern))
		if err != nil {
			return nil, fmt.Errorf("cgroups that match %q: %w", pattern, err)
		}
		dirs = append(dirs, found...)
	}
	return dirs, nil
}

// processes lists the processes that name the stack's directory in their
// command line: conmon, runc, and workers' own shells.
func (s *Stack) processes() []string {
	var left []string
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range commands {
		line, err := os.ReadFile(c)
		if err != nil || !strings.Contains(string(line), s.Dir) || strings.Contains(string(line), s.bin) {
			continue
		}
		if strings.Contains(string(line), "kube-apiserver") || strings.Contains(string(line), "etcd") {
			continue
		}
		left = append(left, "process "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return left
}
