package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Hostile is the path of the worker that works against its node, once BuildHostile has
// built it where every worker sees it.
func (s *Stack) Hostile() string { return s.Path("bind", "hostile") }

// BuildHostile builds that program.
func (s *Stack) BuildHostile(ctx context.Context) error {
	c := exec.CommandContext(ctx, "go", "build", "-o", s.Hostile(), "github.com/stormcell/stormcell/test/hostile/worker")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the hostile worker: %w: %s", err, out)
	}
	return nil
}

// Look describes a directory of root's and what is in it, so that one sees whether
// anybody has changed something: names, owners, modes, sizes and times of change.
func Look(dir string) (string, error) {
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st, _ := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&all, path, fi.Mode(), fi.Size(), st.Uid, st.Gid, st.Ctim)
		return nil
	})
	return all.String(), err
}
