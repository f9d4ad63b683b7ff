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

	"github.com/stormcell/stormcell/internal/container"
)

// record is what Create writes down of a container, so that a later agent
// knows its processes from others that got their pids.
type record struct {
	Init   process `json:"init"`
	Conmon process `json:"conmon"`
}

const recordFile = "record.json"

// remember writes the record of a container whose first process is pid. That
// waits for Start and has conmon as parent, so neither pid can be another's yet.
func (r *Runtime) remember(id string, pid int) error {
	init, err := identify(pid)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	conmon, err := r.monitor(id)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	content, err := json.Marshal(record{Init: init, Conmon: conmon})
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

// monitor is the conmon of a container, or no process. It is the process in
// the monitor's cgroup that was called with the container's id; runc, its
// child, may be there too for a moment.
func (r *Runtime) monitor(id string) (process, error) {
	pids, err := r.members(monitorGroup(id))
	if err != nil {
		return process{}, err
	}
	for pid := range pids {
		p, err := identify(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		args, err := readSmall(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(args), "\x00--cid\x00"+id+"\x00") {
			return p, nil
		}
	}
	return process{}, nil
}

// find returns the processes of a container, or container.ErrNotFound. Ended
// ones may be in it. Without a record that it can read, as after the agent was
// killed before it wrote one, runc and the cgroups tell.
func (r *Runtime) find(ctx context.Context, id string) (record, error) {
	content, err := readSmall(filepath.Join(r.persistDir(id), recordFile))
	var rec record
	if err == nil && json.Unmarshal(content, &rec) == nil && rec.Init.PID > 0 {
		return rec, nil
	}
	rec = record{} // unreadable, or of a version that tells it in another way
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return record{}, fmt.Errorf("record of container %s: %w", id, err)
	}
	if rec.Conmon, err = r.monitor(id); err != nil {
		return record{}, err
	}
	if _, err := os.Stat(r.stateDir(id)); errors.Is(err, fs.ErrNotExist) {
		if rec.Conmon.PID != 0 {
			return rec, nil
		}
		return record{}, fmt.Errorf("%w: %s", container.ErrNotFound, id)
	}
	out, err := r.runc(ctx, id, "state", id)
	if err != nil {
		return rec, err
	}
	var state struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(out, &state); err != nil {
		return rec, fmt.Errorf("state of container %s: %w", id, err)
	}
	if state.PID > 0 { // runc has compared the start time with its own note
		if rec.Init, err = identify(state.PID); err != nil {
			rec.Init = process{}
		}
	}
	return rec, nil
}
