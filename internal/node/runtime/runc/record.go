package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// record is what Create writes down of a container, so that a later agent
// knows its processes from others that got their pids.
type record struct {
	Init   process.Process `json:"init"`
	Conmon process.Process `json:"conmon"`
	// Waiting is the program of Init while it waits for Start: the runtime's own.
	Waiting file `json:"waiting"`
}

// file is a file whatever its name is.
type file struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// programOf returns the program that a process runs.
func programOf(pid int) (file, error) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/exe", pid), &st); err != nil {
		return file{}, fmt.Errorf("program of process %d: %w", pid, err)
	}
	return file{st.Dev, st.Ino}, nil
}

const recordFile = "record.json"

// remember writes the record of a container whose first process is pid. That
// waits for Start and has conmon as parent, so neither pid can be another's yet.
func (r *Runtime) remember(id string, pid int) error {
	init, err := process.Identify(pid)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	conmon, err := r.monitor(id)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	waiting, err := programOf(pid)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	content, err := json.Marshal(record{Init: init, Conmon: conmon, Waiting: waiting})
	if err != nil {
		return fmt.Errorf("encode record of %s: %w", id, err)
	}
	path := filepath.Join(r.persistDir(id), recordFile)
	// No sync: a record of processes is of no use after a reboot.
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("record container: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record container: %w", err)
	}
	return nil
}

// recall reads what remember wrote. fs.ErrNotExist if there is no such record.
func (r *Runtime) recall(id string) (record, error) {
	var rec record
	content, err := smallfile.Read(filepath.Join(r.persistDir(id), recordFile))
	if err == nil {
		err = json.Unmarshal(content, &rec)
	}
	if err == nil && rec.Init.PID <= 0 {
		err = errors.New("it names no process") // one of another version
	}
	if err != nil {
		return record{}, fmt.Errorf("record of container %s: %w", id, err)
	}
	return rec, nil
}

// started tells whether a container that waits for Start, as runc says, has
// been started all the same: a "runc start" that is killed after it let the
// process go and before it noted that leaves it so.
func (r *Runtime) started(id string, pid int) bool {
	rec, err := r.recall(id)
	if err != nil || rec.Init.PID != pid || rec.Waiting == (file{}) { // a version before wrote none
		return false
	}
	program, err := programOf(pid)
	return err == nil && program != rec.Waiting
}

// monitor is the conmon of a container, or no process. It is the process in
// the monitor's cgroup that was called with the container's id; runc, its
// child, may be there too for a moment.
func (r *Runtime) monitor(id string) (process.Process, error) {
	pids, err := r.cgroups.Members(monitorGroup(id))
	if err != nil {
		return process.Process{}, err
	}
	for pid := range pids {
		p, err := process.Identify(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		args, err := smallfile.Read(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(args), "\x00--cid\x00"+id+"\x00") {
			return p, nil
		}
	}
	return process.Process{}, nil
}

// exists tells whether there is something at path, or might be.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Inspect returns where a container is found from outside. Its first process may have
// ended, or not be known: then its pid is 0.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Info, error) {
	if err := runtime.CheckID(id); err != nil {
		return runtime.Info{}, err
	}
	rec, err := r.find(ctx, id)
	return runtime.Info{Init: rec.Init, Cgroup: containerGroup(id)}, err
}

// find returns the processes of a container, or runtime.ErrNotFound. Ended
// ones may be in it. Without a record that it can read, as after the agent was
// killed before it wrote one, runc and the cgroups tell.
func (r *Runtime) find(ctx context.Context, id string) (record, error) {
	rec, err := r.recall(id)
	if err == nil {
		return rec, nil
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread && !errors.Is(err, fs.ErrNotExist) {
		return record{}, err
	}
	if rec.Conmon, err = r.monitor(id); err != nil {
		return record{}, err
	}
	if rec.Conmon.PID != 0 {
		// It writes the exit code to both, and gives up where it cannot.
		for _, dir := range []string{r.persistDir(id), r.exitDir()} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return rec, fmt.Errorf("make run directory: %w", err)
			}
		}
	}
	if !exists(r.stateDir(id)) {
		if rec.Conmon.PID == 0 && !exists(r.exitFile(id)) {
			return record{}, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
		}
		return rec, nil
	}
	state, err := r.client(id).State(ctx, id)
	if err != nil {
		return rec, err
	}
	if state.Pid > 0 { // runc has compared the start time with its own note
		if rec.Init, err = process.Identify(state.Pid); err != nil {
			rec.Init = process.Process{}
		}
	}
	return rec, nil
}
