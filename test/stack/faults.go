package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// faultsTag is the build tag of a node-agent that obeys Order.
const faultsTag = "faults"

// Disks are the directories of the node that lie each on a small file system
// of its own when the stack is made WithFaults, so that each can be full.
var Disks = []string{"run", "cache", "storm", "log"}

// diskSize is that of each of Disks.
const diskSize = "size=64m"

// WithFaults builds a node-agent that obeys Order, which it takes no notice of
// otherwise, has it call runc and conmon by way of scripts that obey OrderProgram, and
// gives its directories file systems that can be filled.
func WithFaults() Option { return func(s *Stack) { s.faults = true } }

// program is the script that stands for runc or conmon.
func (s *Stack) program(name string) string { return s.Path("programs", name) }

// script hands everything on to the real program, unless there is an order for
// the command that it is called with. One that hangs waits for a line that nobody writes.
const script = `#!/bin/sh
for word; do
	case $word in
	create | start | state | list | delete | --cid) break ;;
	esac
done
order=
[ -e "$0.$word" ] && read -r order <"$0.$word"
case $order in
fail) echo 'made to fail by a test' >&2; exit 1 ;;
die) kill -9 $$ ;;
hang) : >"$0.hangs"; read -r word <>"$0.fifo" ;;
esac
exec %s "$@"
`

// prepareFaults makes what WithFaults promises.
func (s *Stack) prepareFaults(context.Context) error {
	if !s.faults {
		return nil
	}
	for _, dir := range []string{s.Path("orders"), s.Path("programs")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make directory for faults: %w", err)
		}
	}
	s.env = append(s.env, "STORMCELL_FAULTS="+s.Path("orders"))
	for name, real := range map[string]string{"runc": "/usr/sbin/runc", "conmon": "/usr/bin/conmon"} {
		if err := os.WriteFile(s.program(name), fmt.Appendf(nil, script, real), 0o700); err != nil {
			return fmt.Errorf("write program: %w", err)
		}
		if err := unix.Mkfifo(s.program(name)+".fifo", 0o600); err != nil {
			return fmt.Errorf("make fifo: %w", err)
		}
	}
	for _, disk := range Disks {
		if err := os.Mkdir(s.Path(disk), 0o755); err != nil {
			return fmt.Errorf("make disk: %w", err)
		}
		if err := s.mountDisk(disk); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) mountDisk(name string) error {
	if err := unix.Mount("tmpfs", s.Path(name), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,"+diskSize); err != nil {
		return fmt.Errorf("mount disk %s: %w", name, err)
	}
	return nil
}

// removeDisks unmounts the disks. One that is in use is among the leftovers.
func (s *Stack) removeDisks() error {
	if !s.faults {
		return nil
	}
	var errs []error
	for _, disk := range Disks {
		if err := unix.Unmount(s.Path(disk), unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount disk %s: %w", disk, err))
		}
	}
	return errors.Join(errs...)
}

// Order makes the node-agent do something at a point, such as "before
// Runtime.Create": "kill" ends it by SIGKILL, "hang" never returns, all else is
// an error that the step fails with. It is done once.
func (s *Stack) Order(point, order string) error {
	temp := s.Path("orders", ".new")
	if err := os.WriteFile(temp, []byte(order), 0o600); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	return os.Rename(temp, s.Path("orders", point))
}

// Ordered tells whether the order for a point has not been carried out yet.
func (s *Stack) Ordered(point string) bool {
	_, err := os.Lstat(s.Path("orders", point))
	return err == nil
}

// Withdraw takes back what was ordered for a point, if that is so yet.
func (s *Stack) Withdraw(point string) error {
	if err := os.Remove(s.Path("orders", point)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// OrderProgram makes each call of a program ("runc" or "conmon") with a command
// ("create", "start", "state", "list" or "delete"; "--cid" for conmon) "fail",
// "die" or "hang"; "" makes it work again.
func (s *Stack) OrderProgram(name, command, order string) error {
	path := s.program(name) + "." + command
	if order == "" {
		return os.Remove(path)
	}
	return os.WriteFile(path, []byte(order+"\n"), 0o600)
}

// Hangs tells whether a program hangs, and forgets it.
func (s *Stack) Hangs(name string) bool { return os.Remove(s.program(name)+".hangs") == nil }

// Fill fills a disk to the last byte, until the function that it returns is called.
func (s *Stack) Fill(disk string) (empty func() error, err error) {
	path := s.Path(disk, ".full")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fill disk: %w", err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		switch _, err := f.Write(block); {
		case errors.Is(err, unix.ENOSPC):
			block = block[:len(block)/2]
		case err != nil:
			return nil, errors.Join(fmt.Errorf("fill disk: %w", err), os.Remove(path))
		}
	}
	return func() error { return os.Remove(path) }, nil
}

// AgentEnded waits for the end of a node-agent that ends by an order, and
// returns the signal that it ended by, or 0. One that does not end by it is killed.
func (s *Stack) AgentEnded(ctx context.Context) (syscall.Signal, error) {
	agent := s.agent
	s.agent = nil
	stop := context.AfterFunc(ctx, func() { _ = agent.Process.Kill() }) // it may have ended
	defer stop()
	_ = agent.Wait() // how it ended is in its state
	if ctx.Err() != nil {
		return 0, fmt.Errorf("the node-agent does not end: %w", ctx.Err())
	}
	status, _ := agent.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return 0, nil
	}
	return status.Signal(), nil
}

// PauseAPI takes the API server away from everybody, until ResumeAPI.
func (s *Stack) PauseAPI() error { return s.cluster.Pause() }

// ResumeAPI gives the API server back.
func (s *Stack) ResumeAPI() error { return s.cluster.Resume() }
