package runc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/message"
	"github.com/stormcell/stormcell/internal/node/program"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// conmonArgs is conmon's command line.
func (r *Runtime) conmonArgs(id, bundle, log string) []string {
	dir := r.persistDir(id)
	args := []string{
		"--cid", id, "--cuuid", id, "--name", id,
		"--bundle", bundle,
		"--runtime", r.options.Runc,
		"--container-pidfile", filepath.Join(dir, "pid"),
		"--exit-dir", r.exitDir(),
		"--persist-dir", dir,
		"--log-path", "k8s-file:" + log,
		"--log-size-max", strconv.FormatInt(r.options.LogBytes/logParts, 10),
		// Attach sockets in the bundle, not in a directory of CRI-O's.
		"--full-attach",
		// Logs are not worth a slow disk holding up the exit code.
		"--no-sync-log",
	}
	for _, a := range r.client(id).GlobalArgs() {
		args = append(args, "--runtime-arg", a)
	}
	return args
}

// create has conmon create the container and returns the pid of its first process.
func (r *Runtime) create(ctx context.Context, id, bundle, log string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, createLimit)
	defer cancel()
	syncRead, syncWrite, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("pipe: %w", err)
	}
	defer syncRead.Close()
	err = r.startConmon(ctx, id, bundle, log, syncWrite)
	syncWrite.Close()
	if err != nil {
		return 0, err
	}
	// It cannot fail: pipes have deadlines.
	stop := context.AfterFunc(ctx, func() { _ = syncRead.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// conmon keeps its end open, so the answer is a line and not the whole pipe.
	line, err := bufio.NewReader(io.LimitReader(syncRead, program.MaxOutput)).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w %s: no answer from conmon: %w", runtime.ErrCreate, id, ctx.Err())
	case err != nil && !errors.Is(err, io.EOF):
		return 0, fmt.Errorf("%w %s: read conmon's answer: %w", runtime.ErrCreate, id, err)
	}
	return r.parseAnswer(id, line)
}

// startConmon runs conmon until it has gone to the background. It goes on from
// the start pipe only when it is in its own cgroup, out of reach of whoever
// kills the agent's, and where Delete finds it. An agent that dies before that
// takes conmon with it.
func (r *Runtime) startConmon(ctx context.Context, id, bundle, log string, syncWrite *os.File) error {
	startRead, startWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	defer startRead.Close()
	defer startWrite.Close()
	// A file, since conmon's child would keep a pipe open.
	stderr, err := os.Create(filepath.Join(r.persistDir(id), "conmon.log")) //nolint:forbidigo // only root sees into the run root
	if err != nil {
		return fmt.Errorf("conmon's log: %w", err)
	}
	defer stderr.Close()
	// The death signal is sent when the thread ends that made the process.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, r.options.Conmon, r.conmonArgs(id, bundle, log)...)
	program.Confine(cmd)
	cmd.Env = append(cmd.Env, "_OCI_SYNCPIPE=3", "_OCI_STARTPIPE=4")
	// conmon takes the end of the start pipe for a go. So it holds the other
	// side itself, as descriptor 5, and waits on if the agent dies.
	cmd.ExtraFiles = []*os.File{syncWrite, startRead, startWrite}
	cmd.Stderr = stderr
	cmd.Dir = r.persistDir(id) // conmon writes a file "oom" to where it is
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start conmon: %w", err)
	}
	err = r.cgroups.Join(monitorGroup(id), cmd.Process.Pid)
	if err == nil {
		_, err = startWrite.Write([]byte{0})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start conmon: %w", err), cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(stderr.Name()) // what is in it, if anything
		return fmt.Errorf("%w %s: conmon: %w: %s", runtime.ErrCreate, id, err, complaint(string(text)))
	}
	return nil
}

// ignoreExit drops the error that a program failed, which a killed one does.
func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// parseAnswer reads conmon's line: the pid, or -1 and what runc printed.
func (r *Runtime) parseAnswer(id string, line []byte) (int, error) {
	var answer struct {
		PID     int    `json:"pid"`
		Message string `json:"message"`
	}
	err := json.Unmarshal(line, &answer)
	if err == nil && answer.PID > 0 {
		return answer.PID, nil
	}
	text := answer.Message
	if text == "" { // runc said nothing on stderr: perhaps it was killed
		text = r.lastLog(id)
	}
	if text == "" {
		text = "runc ended without a message; check whether the kernel killed it (dmesg)"
	}
	return 0, fmt.Errorf("%w %s: %s", runtime.ErrCreate, id, runtime.Explain(strings.TrimPrefix(complaint(text), "runc create failed: ")))
}

// lastLog is the last error in the log that runc wrote for the container.
func (r *Runtime) lastLog(id string) string {
	content, err := os.ReadFile(filepath.Join(r.persistDir(id), "runc.log"))
	if err != nil {
		return ""
	}
	var last string
	for line := range strings.Lines(string(content)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
			last = entry.Msg
		}
	}
	return last
}

// complaint is what a program has printed, as an error repeats it.
func complaint(text string) string {
	return message.Truncate(strings.ToValidUTF8(strings.TrimSpace(text), ""), program.MaxMessage)
}
