package runc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/program"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// Exec runs a program in a container by "runc exec", which gives it all that the
// bundle gives the container's own process. runc stays until it has ended, and ends
// with the agent.
func (r *Runtime) Exec(ctx context.Context, id string, p runtime.Program) (int, error) {
	if err := runtime.CheckID(id); err != nil {
		return 0, err
	}
	if !exists(r.stateDir(id)) {
		return 0, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	}
	code, err := r.exec(ctx, id, p)
	if err != nil {
		return 0, fmt.Errorf("run a program in container %s: %w", id, err)
	}
	return code, nil
}

func (r *Runtime) exec(ctx context.Context, id string, p runtime.Program) (int, error) {
	description, err := r.describe(ctx, id, p.Args)
	if err != nil {
		return 0, err
	}
	defer os.Remove(description) // it has the whole environment
	pidFile := filepath.Join(r.persistDir(id), "exec.pid")
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	words := append(r.client(id).GlobalArgs(), "exec", "--process", description, "--pid-file", pidFile, id)
	cmd := exec.CommandContext(ctx, r.options.Runc, words...)
	program.Confine(cmd)
	complaints := program.NewOutput(new(bytes.Buffer), program.MaxMessage)
	cmd.Stdout, cmd.Stderr = p.Output, complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	// The death signal is sent when the thread ends that made the process.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(over)
	}()
	if err := feed(stdin, p, pidFile, over); err != nil {
		_ = cmd.Cancel() // the program reads the end of the file
		complaint := complaintOf(ctx, <-ended, complaints)
		if errors.Is(err, errNotStarted) && complaint != nil {
			err = complaint
		}
		return 0, err
	}
	err = <-ended
	if _, exited := errors.AsType[*exec.ExitError](err); exited && ctx.Err() == nil {
		err = nil // the code is the program's
	}
	if err != nil {
		return 0, complaintOf(ctx, err, complaints)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// complaintOf is why runc has failed, if it has.
func complaintOf(ctx context.Context, err error, printed *program.Output) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && printed.String() != "":
		return errors.New(runtime.Explain(printed.String()))
	}
	return err
}

// errNotStarted is a program that was not there, or not long enough to be seen.
var errNotStarted = errors.New("it ended before it began to read")

// feed waits for the program, and gives it what it reads.
func feed(stdin io.WriteCloser, p runtime.Program, pidFile string, over <-chan struct{}) error {
	defer stdin.Close()
	started, err := awaitProgram(pidFile, over)
	if err != nil {
		return err
	}
	if err := p.Started(started); err != nil {
		return err
	}
	_, _ = io.Copy(stdin, p.Stdin) // it need not read all
	return nil
}

// awaitProgram waits until runc has written down a program's pid; errNotStarted if runc
// has ended, or the program has.
func awaitProgram(pidFile string, over <-chan struct{}) (process.Process, error) {
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for ended := false; ; {
		text, err := smallfile.Read(pidFile)
		if err == nil {
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return process.Process{}, fmt.Errorf("pid file: %w", err)
			}
			p, err := process.Identify(pid)
			if err != nil {
				return p, fmt.Errorf("%w: %w", errNotStarted, err)
			}
			return p, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return process.Process{}, err
		}
		if ended {
			return process.Process{}, errNotStarted
		}
		select {
		case <-over:
			ended = true
		case <-again.C:
		}
	}
}

// describe writes the document of a program that runs as the container's own process
// does, and returns its path.
func (r *Runtime) describe(ctx context.Context, id string, args []string) (string, error) {
	state, err := r.client(id).State(ctx, id)
	if err != nil {
		return "", err
	}
	if runtime.Status(state.Status) == runtime.Stopped {
		return "", fmt.Errorf("%w: it does not run", runtime.ErrNotFound)
	}
	content, err := os.ReadFile(filepath.Join(state.Bundle, configFile))
	if err != nil {
		return "", err
	}
	var spec specs.Spec
	if err := json.Unmarshal(content, &spec); err != nil {
		return "", fmt.Errorf("%s: %w", configFile, err)
	}
	if spec.Process == nil {
		return "", fmt.Errorf("%s describes no process", configFile)
	}
	spec.Process.Args, spec.Process.Cwd, spec.Process.Terminal = args, "/", false
	text, err := json.Marshal(spec.Process)
	if err != nil {
		return "", err
	}
	path := filepath.Join(r.persistDir(id), "exec.json")
	return path, os.WriteFile(path, text, 0o600)
}
