// Package cgroup finds and kills the processes of containers by their cgroups, and
// reads the resource usage of cgroups, of version 1 and 2.
package cgroup

import (
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

	"github.com/moby/sys/mountinfo"

	"github.com/stormcell/stormcell/internal/node/smallfile"
)

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

// Join moves process pid into the cgroup name in every hierarchy, since a kill by
// cgroup uses any one of them.
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
		own, err := smallfile.Read(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		above, err := smallfile.Read(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), above, 0); err != nil {
			return fmt.Errorf("inherit cpuset: %w", err)
		}
	}
	return nil
}
