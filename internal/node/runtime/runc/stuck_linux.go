package runc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stormcell/stormcell/internal/node/process"
)

// maxNamed is how many stuck threads an error names.
const maxNamed = 3

// nameStuck adds to process.ErrStuck which threads of a container sleep in
// the kernel and cannot be woken, and in which function: that tells whether a
// disk, a file system or an NFS server is to be looked after.
func (r *Runtime) nameStuck(id string, err error) error {
	if !errors.Is(err, process.ErrStuck) {
		return err
	}
	pids, listErr := r.cgroups.Members(containerGroup(id))
	if listErr != nil {
		return err
	}
	var named []string
	for pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid)) // the pattern is well-formed
		for _, task := range tasks {
			if text, ok := process.Uninterruptible(task); ok && len(named) < maxNamed {
				named = append(named, text)
			}
		}
	}
	if len(named) == 0 {
		return err
	}
	return fmt.Errorf("%w (uninterruptible: %s)", err, strings.Join(named, "; "))
}
