// Package runc runs containers with runc under conmon. conmon, in its own cgroup, holds
// a container's output and its exit code. So containers outlive the agent, and a later
// agent knows how they ended. conmon calls
// runc to create a container; package cli makes the other calls.
//
//	agent ──exec──> conmon ──fork, setsid──> conmon ──exec──> runc create
//	      start pipe: "you are in your cgroup, continue"  └─ parent of the container's
//	      sync pipe:  pid, or why there is none            first process: exit file
package runc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runc/cli"
)

// Limits on programs that are a matter of milliseconds on a healthy node.
const (
	createLimit = time.Minute
	deleteLimit = 30 * time.Second
	// killLimit is how long processes may take to end after SIGKILL.
	killLimit = 10 * time.Second
	// drainLimit is how long conmon may take to write what it has after the
	// end of its container.
	drainLimit = 5 * time.Second
)

// Options of a Runtime.
type Options struct {
	// RunRoot is the agent's directory for what does not outlive a boot; only
	// root sees into it.
	RunRoot string
	// Runc and Conmon are the paths of the programs.
	Runc, Conmon string
	// CgroupRoot is where the host's cgroups are mounted.
	CgroupRoot string
	// CgroupParent is the parent of all cgroups of containers and monitors,
	// absolute below CgroupRoot.
	CgroupParent string
	// LogDir has a directory for each container with the logs of its last two
	// attempts.
	LogDir string
	// LogBytes is the size limit of an attempt's log, all parts together.
	LogBytes int64
	// Log receives failures that are not of one container; nil for no log.
	Log *slog.Logger
}

// Runtime runs containers. Calls for different containers may run side by
// side, calls for one may not (but Wait and Signal). It holds no state but
// what it watches.
type Runtime struct {
	options   Options
	cgroups   *cgroup.Tree
	rotations *rotations
}

// New returns a runtime.
func New(o Options) *Runtime {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{
		options:   o,
		cgroups:   cgroup.New(o.CgroupRoot, o.CgroupParent),
		rotations: newRotations(o.Log),
	}
}

func (r *Runtime) stateRoot() string         { return filepath.Join(r.options.RunRoot, "runc") }
func (r *Runtime) stateDir(id string) string { return filepath.Join(r.stateRoot(), id) }
func (r *Runtime) exitDir() string           { return filepath.Join(r.options.RunRoot, "exits") }
func (r *Runtime) exitFile(id string) string { return filepath.Join(r.exitDir(), id) }
func (r *Runtime) workersDir() string        { return filepath.Join(r.options.RunRoot, "workers") }

func (r *Runtime) persistDir(id string) string { return filepath.Join(r.workersDir(), id, "persist") }

// client calls runc about container id, "" for none, and has its log beside
// the container's records.
func (r *Runtime) client(id string) *cli.Client {
	log := os.DevNull
	if id != "" {
		log = filepath.Join(r.persistDir(id), "runc.log")
	}
	return cli.New(r.options.Runc, r.stateRoot(), log)
}

// Create makes a container that waits for Start. attempt names its log file.
// A container that failed leaves nothing behind. Errors wrap runtime.ErrCreate
// if the image or the bundle is at fault, and runtime.ErrExists if id was not
// deleted before.
func (r *Runtime) Create(ctx context.Context, id, bundle string, attempt int) (runtime.State, error) {
	if err := runtime.CheckID(id); err != nil {
		return runtime.State{}, err
	}
	if _, err := os.Lstat(r.stateDir(id)); err == nil {
		return runtime.State{}, fmt.Errorf("%w: %s; delete it first", runtime.ErrExists, id)
	}
	log, err := r.prepare(id, attempt)
	if err != nil {
		return runtime.State{}, err
	}
	pid, err := r.create(ctx, id, bundle, log)
	if err == nil {
		err = r.remember(id, pid)
	}
	if err != nil {
		return runtime.State{}, errors.Join(err, r.Delete(context.WithoutCancel(ctx), id))
	}
	return runtime.State{ID: id, Status: runtime.Created, PID: pid}, nil
}

// prepare makes the directories that conmon writes to, empty of what an
// earlier attempt left, and returns the path of the log file.
func (r *Runtime) prepare(id string, attempt int) (log string, err error) {
	if err := r.forget(id); err != nil {
		return "", err
	}
	for _, dir := range []string{r.stateRoot(), r.exitDir(), r.persistDir(id)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make run directory: %w", err)
		}
	}
	return r.prepareLog(id, attempt)
}

// forget deletes what conmon and this package wrote of a container.
func (r *Runtime) forget(id string) error {
	if err := os.RemoveAll(r.persistDir(id)); err != nil {
		return fmt.Errorf("remove run directory: %w", err)
	}
	// conmon writes the exit file under another name, <id>.XXXXXX, which is
	// left if conmon is killed before it renames that.
	files, err := filepath.Glob(r.exitFile(id) + ".*")
	if err != nil {
		return fmt.Errorf("exit directory: %w", err)
	}
	for _, file := range append(files, r.exitFile(id)) {
		if err := os.RemoveAll(file); err != nil {
			return fmt.Errorf("remove exit file: %w", err)
		}
	}
	return nil
}

// Start lets the container's process run.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if err := r.client(id).Start(ctx, id); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// containerGroup is the cgroup of container id, which runc makes.
func containerGroup(id string) string { return id }

// monitorGroup is the cgroup of its conmon. It is no child of the container's:
// what is sent to all processes there must not reach conmon.
func monitorGroup(id string) string { return "conmon-" + id }
