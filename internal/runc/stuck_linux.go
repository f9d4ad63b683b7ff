package runc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stormcell/stormcell/internal/container"
)

// maxNamed is how many stuck threads an error names.
const maxNamed = 3

// nameStuck adds to container.ErrStuck which threads of a container sleep in
// the kernel and cannot be woken, and in which function: that tells whether a
// disk, a file system or an NFS server is to be looked after.
func (r *Runtime) nameStuck(id string, err error) error {
	if !errors.Is(err, container.ErrStuck) {
		return err
	}
	pids, listErr := r.members(containerGroup(id))
	if listErr != nil {
		return err
	}
	var named []string
	for pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid)) // the pattern is well-formed
		for _, task := range tasks {
			if text, ok := uninterruptible(task); ok && len(named) < maxNamed {
				named = append(named, text)
			}
		}
	}
	if len(named) == 0 {
		return err
	}
	return fmt.Errorf("%w (uninterruptible: %s)", err, strings.Join(named, "; "))
}

// uninterruptible describes the thread of a directory in /proc if it is in
// state D. The end of a pid namespace's first process waits in that state for
// the others, and is not what keeps it.
func uninterruptible(task string) (text string, ok bool) {
	stat, err := readSmall(filepath.Join(task, "stat"))
	if err != nil {
		return "", false
	}
	before, after, _ := cutLast(string(stat), ")")
	pid, name, _ := strings.Cut(before, " (")
	if !strings.HasPrefix(strings.TrimSpace(after), "D") {
		return "", false
	}
	where, err := readSmall(filepath.Join(task, "wchan"))
	if err != nil || string(where) == "zap_pid_ns_processes" {
		return "", false
	}
	return fmt.Sprintf("pid %s %q in %s", pid, name, where), true
}
