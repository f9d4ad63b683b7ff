package runc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// Wait blocks until the container's first process has ended, and returns how.
// It works for containers of earlier agents, and for those that have already
// ended, until Delete. If conmon was killed, the code is runtime.UnknownCode.
// While it waits, it keeps the parts of the container's log.
func (r *Runtime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	if err := runtime.CheckID(id); err != nil {
		return runtime.Exit{}, err
	}
	rec, err := r.find(ctx, id)
	if err != nil {
		return runtime.Exit{}, err
	}
	defer r.rotations.watch(r.logDir(id))()
	// conmon writes the exit file as its last act, after the end of the
	// container. So when both have ended, the file is there or never will be.
	for _, p := range []process.Process{rec.Init, rec.Conmon} {
		if err := waitFor(ctx, p); err != nil {
			return runtime.Exit{}, err
		}
	}
	exit, err := r.exit(id)
	if errors.Is(err, fs.ErrNotExist) {
		exit, err = runtime.Exit{Code: runtime.UnknownCode, At: time.Now()}, nil
	}
	if err != nil {
		return runtime.Exit{}, err
	}
	exit.OOMKilled = r.oomKilled(id)
	denied, _ := r.cgroups.Count(containerGroup(id), cgroup.DeniedForks)
	exit.PidsLimited = denied > 0
	return exit, nil
}

func waitFor(ctx context.Context, p process.Process) error {
	h, err := p.Open()
	if err != nil || h == nil {
		return err
	}
	defer h.Close()
	return h.Wait(ctx)
}

// exit reads conmon's exit file.
func (r *Runtime) exit(id string) (runtime.Exit, error) {
	path := r.exitFile(id)
	fi, err := os.Stat(path)
	if err != nil {
		return runtime.Exit{}, fmt.Errorf("exit file: %w", err)
	}
	content, err := smallfile.Read(path)
	if err != nil {
		return runtime.Exit{}, fmt.Errorf("exit file: %w", err)
	}
	exit, err := parseExit(string(content))
	if err != nil {
		return runtime.Exit{}, fmt.Errorf("exit file of %s: %w", id, err)
	}
	exit.At = fi.ModTime()
	return exit, nil
}

var errMalformedExit = errors.New("malformed exit code")

// parseExit reads the code that conmon writes.
func parseExit(content string) (runtime.Exit, error) {
	text := strings.TrimSpace(content)
	if text == "-1" { // conmon could not make sense of the status
		return runtime.Exit{Code: runtime.UnknownCode}, nil
	}
	code, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return runtime.Exit{}, fmt.Errorf("%w: %.20q", errMalformedExit, text)
	}
	return runtime.ExitOf(int(code)), nil
}

// oomKilled asks the container's cgroup, which lives until Delete, whether the
// kernel killed in it; conmon's note serves where the cgroup is gone.
func (r *Runtime) oomKilled(id string) bool {
	if kills, ok := r.cgroups.Count(containerGroup(id), cgroup.OOMKills); ok {
		return kills > 0
	}
	_, err := os.Stat(filepath.Join(r.persistDir(id), "oom"))
	return err == nil
}

// Signal sends sig to the container's first process, or to all its processes.
// A container that has ended is no error; one that is not known is
// runtime.ErrNotFound.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	rec, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	h, err := rec.Init.Open()
	if err != nil {
		return err
	}
	if h != nil {
		defer h.Close()
		err = h.Signal(sig)
	}
	if all {
		// Beside the first process, which is reached even if its cgroup is not
		// where this runtime looks for it; and which may not be known.
		err = errors.Join(err, r.cgroups.Signal(containerGroup(id), sig))
	}
	return err
}
