package runc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// maxOutput is how much a program may print, in bytes.
	maxOutput = 16 << 20
	// maxMessage is how much of a program's complaint an error repeats.
	maxMessage = 2048
)

// environment is all that programs see of the agent's.
func environment() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} }

// globalArgs are the arguments in front of every command of runc. With a log
// file, runc prints the error itself, in plain words, to stderr.
func (r *Runtime) globalArgs(id string) []string {
	log := "/dev/null"
	if id != "" {
		log = filepath.Join(r.persistDir(id), "runc.log")
	}
	return []string{"--root", r.stateRoot(), "--log", log, "--log-format", "json"}
}

// runc runs a command of runc about container id ("" for none) and returns
// what it printed.
func (r *Runtime) runc(ctx context.Context, id string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	if id != "" { // for its log: without the directory runc does nothing at all
		if err := os.MkdirAll(r.persistDir(id), 0o700); err != nil {
			return nil, fmt.Errorf("runc %s: %w", args[0], err)
		}
	}
	stdout, stderr := &capped{limit: maxOutput}, &capped{limit: maxMessage}
	cmd := exec.CommandContext(ctx, r.options.Runc, append(r.globalArgs(id), args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), stdout, stderr
	group(cmd)
	// It ends with the agent: one that hung would go on when its container's
	// name is another's. The death signal is sent when the thread ends that
	// made the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := cmd.Run()
	if err == nil && stdout.full {
		err = fmt.Errorf("printed more than %d bytes", maxOutput)
	}
	if err == nil {
		return stdout.buf.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("runc %s: %w", args[0], ctx.Err())
	}
	if text := strings.TrimSpace(stderr.buf.String()); text != "" {
		return nil, fmt.Errorf("runc %s: %w: %s", args[0], err, text)
	}
	return nil, fmt.Errorf("runc %s: %w", args[0], err)
}

// group makes a process group of the program, all of which is killed when its
// context ends.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	cmd.WaitDelay = time.Second
}

// capped keeps the first limit bytes that are written to it.
type capped struct {
	buf   bytes.Buffer
	limit int
	full  bool
}

func (c *capped) Write(p []byte) (int, error) {
	n := len(p)
	if room := c.limit - c.buf.Len(); n > room {
		p, c.full = p[:room], true
	}
	c.buf.Write(p)
	return n, nil
}
