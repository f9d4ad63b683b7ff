package profile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// spaces are the name spaces of a container, and the hold on its first process
// that says they are its.
type spaces struct {
	init       *process.Handle
	mount, pid *os.File
	// env is what the script takes over of the container's environment.
	env []string
}

// openSpaces opens the name spaces of a container. A pid may become another
// process's at any time: so the process is held, is known by its start time, must
// be in the container's cgroup, and still live when all is open.
func openSpaces(c runtime.Info, tree *cgroup.Tree) (*spaces, error) {
	init, err := c.Init.Open()
	if err != nil {
		return nil, err
	}
	if init == nil {
		return nil, ErrGone
	}
	s := &spaces{init: init}
	if err := s.open(c, tree); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *spaces) open(c runtime.Info, tree *cgroup.Tree) error {
	members, err := tree.Members(c.Cgroup)
	if err != nil {
		return err
	}
	if !members[c.Init.PID] {
		return fmt.Errorf("%w: process %d is not in cgroup %s", ErrForeign, c.Init.PID, c.Cgroup)
	}
	proc := fmt.Sprintf("/proc/%d/", c.Init.PID)
	if s.mount, err = os.Open(proc + "ns/mnt"); err == nil {
		s.pid, err = os.Open(proc + "ns/pid")
	}
	environ, envErr := smallfile.Read(proc + "environ")
	if s.init.Ending() {
		return ErrGone
	}
	if err := errors.Join(err, envErr); err != nil {
		return fmt.Errorf("name spaces of the container: %w", err)
	}
	s.env = javaEnv(string(environ))
	return nil
}

func (s *spaces) close() {
	s.init.Close()
	for _, f := range []*os.File{s.mount, s.pid} {
		if f != nil {
			f.Close()
		}
	}
}

// defaultPath is that of a container whose environment has none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// javaEnv takes where Java is from an environment, and nothing else.
func javaEnv(environ string) []string {
	env := []string{defaultPath}
	for v := range strings.SplitSeq(environ, "\x00") {
		if strings.ContainsFunc(v, unicode.IsControl) {
			continue
		}
		switch name, _, _ := strings.Cut(v, "="); name {
		case "PATH":
			env[0] = v
		case "JAVA_HOME":
			env = append(env, v)
		}
	}
	return env
}

// gate waits for a line, and then becomes the program that it is given.
const gate = `read -r _ && exec "$@" </dev/null`

// start starts the script. It runs only when it is in its cgroup, where it is
// found however the agent ends. It gains no rights by the programs that it
// runs: those of the image may be set-uid.
func (p *Profiler) start(ctx context.Context, t Target, s *spaces, args []string, out io.Writer) (*exec.Cmd, error) {
	text, err := p.options.Script()
	if err != nil {
		return nil, err
	}
	script, err := sealed(text)
	if err != nil {
		return nil, err
	}
	defer script.Close()
	words := append([]string{
		"-c", gate, "sh", p.options.Nsenter, "--mount=/proc/self/fd/4", "--pid=/proc/self/fd/5",
		"--setgid", strconv.Itoa(t.User.GID), "--setuid", strconv.Itoa(t.User.UID), "--", "/proc/self/fd/3",
	}, args...)
	cmd := exec.CommandContext(ctx, "/bin/sh", words...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", s.env, out, out
	cmd.ExtraFiles = []*os.File{script, s.mount, s.pid}
	cmd.Cancel = func() error { return p.options.Cgroups.Kill(context.WithoutCancel(ctx), group(t.ID)) }
	// Whatever of it is left and holds the output, is swept away after that.
	cmd.WaitDelay = time.Second
	open, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the profiler script: %w", err)
	}
	if err := startWithoutNewPrivileges(cmd); err != nil {
		return nil, fmt.Errorf("start the profiler script: %w", err)
	}
	err = p.confine(t.ID, cmd.Process.Pid)
	if err == nil {
		_, err = io.WriteString(open, "\n")
	}
	if err != nil {
		err = fmt.Errorf("start the profiler script: %w", err)
		return nil, errors.Join(err, open.Close(), ended(cmd.Wait()))
	}
	return cmd, nil
}

// confine puts a process, and so all that it will start, into the script's cgroup.
func (p *Profiler) confine(id string, pid int) error {
	tree := p.options.Cgroups
	if err := tree.Join(group(id), pid); err != nil {
		return err
	}
	return errors.Join(tree.Limit(group(id), cgroup.Pids, maxPids), tree.Limit(group(id), cgroup.Memory, maxMemory))
}

// ended drops the error that a program failed, as one does whose gate stays shut.
func ended(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// startWithoutNewPrivileges starts a program on a thread that has given up new
// privileges, which goes over to the program. The thread ends with this.
func startWithoutNewPrivileges(cmd *exec.Cmd) error {
	result := make(chan error)
	go func() {
		goruntime.LockOSThread() // never unlocked
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		result <- err
	}()
	return <-result
}
