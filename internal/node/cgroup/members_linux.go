package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/process"
)

// killLimit is how long processes may take to end after SIGKILL.
const killLimit = 10 * time.Second

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
