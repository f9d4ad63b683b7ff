// Package process identifies the processes of this machine by start time and by pidfd,
// since pids are reused.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// ErrStuck is a process that does not end after SIGKILL.
var ErrStuck = errors.New("process does not end after SIGKILL, it is stuck in the kernel")

// Process is a process of this boot: a pid alone may be another's tomorrow.
type Process struct {
	PID int `json:"pid"`
	// Start is when the kernel started it, in clock ticks since the boot.
	Start uint64 `json:"start"`
}

// Identify returns the process that has pid now.
func Identify(pid int) (Process, error) {
	start, err := startTime(pid)
	return Process{PID: pid, Start: start}, err
}

// The fields of /proc/<pid>/stat that are read, by their numbers in proc(5).
const (
	flagsField = 9
	startField = 22
)

func startTime(pid int) (uint64, error) { return stat(pid, startField) }

// stat reads a number of /proc/<pid>/stat.
func stat(pid, field int) (uint64, error) {
	content, err := smallfile.Read(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	n, err := parseStat(string(content), field)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return n, nil
}

var errMalformedStat = errors.New("malformed /proc/<pid>/stat")

// parseStat returns a field from the fourth on. The second one, the program's name,
// may hold anything, so fields count from its last bracket.
func parseStat(stat string, field int) (uint64, error) {
	_, rest, ok := cutLast(stat, ")")
	fields := strings.Fields(rest) // from the third on
	if !ok || len(fields) < field-2 {
		return 0, errMalformedStat
	}
	n, err := strconv.ParseUint(fields[field-3], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errMalformedStat, err)
	}
	return n, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Handle holds on to a process, whatever becomes of its pid.
type Handle struct {
	pid  int
	file *os.File
}

// Open returns a handle of p, or nil if it has ended and is reaped.
func (p Process) Open() (*Handle, error) {
	if p.PID <= 0 {
		return nil, nil //nolint:nilnil // no process, as documented
	}
	h, err := OpenPID(p.PID)
	if err != nil || h == nil {
		return nil, err
	}
	// Only now: what has the pid at this moment is what the handle holds, or
	// has come after it.
	start, err := startTime(p.PID)
	if err == nil && start == p.Start {
		return h, nil
	}
	h.Close()
	return nil, nil //nolint:nilnil // without its entry in /proc it has ended, as documented
}

// OpenPID returns a handle of the process that has pid now, or nil.
func OpenPID(pid int) (*Handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil //nolint:nilnil // ended, as documented
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd of process %d: %w", pid, err)
	}
	// So that the wait is the poller's and takes no thread.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("pidfd of process %d: %w", pid, err)
	}
	return &Handle{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// PID is the number that the process had when the handle was opened.
func (h *Handle) PID() int { return h.pid }

// Close lets go of the process.
func (h *Handle) Close() { h.file.Close() }

// Wait returns when the process has ended, or with the context's error.
func (h *Handle) Wait(ctx context.Context) error {
	// What the poller knows has deadlines, so that setting one cannot fail.
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = h.file.SetReadDeadline(time.Unix(1, 0))
		close(expired)
	})
	defer func() {
		if !stop() { // the handle may be waited for again
			<-expired
			_ = h.file.SetReadDeadline(time.Time{})
		}
	}()
	conn, err := h.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", h.pid, err)
	}
	var ended bool
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		ended, pollErr = poll(fd)
		return ended || pollErr != nil
	})
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("wait for process %d: %w", h.pid, err)
	}
	return nil
}

// poll tells whether the process of a pidfd has ended.
func poll(fd uintptr) (ended bool, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // descriptors are 32 bits
	n, err := unix.Poll(fds, 0)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(fds, 0)
	}
	return n > 0, err
}

// Live reports whether the process has not ended yet. While it lives, no other process
// has its pid.
func (h *Handle) Live() bool {
	var ended bool
	var pollErr error
	conn, err := h.file.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { ended, pollErr = poll(fd) })
	}
	return err == nil && pollErr == nil && !ended
}

// exiting is PF_EXITING of include/linux/sched.h: the process does not return to its
// program any more.
const exiting = 0x4

// Ending reports whether the process has ended or is about to. The first process of a
// pid namespace is about to while the kernel kills the others and waits for them, so
// they end before it does.
func (h *Handle) Ending() bool {
	flags, err := stat(h.pid, flagsField)
	return !h.Live() || err == nil && flags&exiting != 0
}

// Signal sends sig. A process that has ended is no error.
func (h *Handle) Signal(sig syscall.Signal) error {
	var sent error
	conn, err := h.file.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	}
	if err = errors.Join(err, sent); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", h.pid, err)
	}
	return nil
}

// Kill sends SIGKILL and waits for the end of the process for at most limit;
// ErrStuck if it does not come.
func (h *Handle) Kill(ctx context.Context, limit time.Duration) error {
	if err := h.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := h.Wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: process %d", ErrStuck, h.pid)
	}
	return err
}
