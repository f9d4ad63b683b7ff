// Package program confines the programs of the host that the node runs: what
// they see of the agent's environment, what ends them, and how much of what
// they print is kept.
package program

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// MaxOutput is how much a program may print, in bytes.
	MaxOutput = 16 << 20
	// MaxMessage is how much of a program's complaint an error repeats, in bytes.
	MaxMessage = 2048
)

// Environment is all that programs see of the agent's.
func Environment() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} }

// Confine makes a process group of the program, all of which is killed when
// the context of cmd ends. The program itself also ends with the agent: one
// that hung would act on a container's name when that is another's. The kernel
// sends this death signal when the thread ends that made the process, so the
// caller locks its thread from Start to Wait.
func Confine(cmd *exec.Cmd) {
	cmd.Env = Environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	// A child that left the group may hold the output open.
	cmd.WaitDelay = time.Second
}

// Output is a writer that keeps the first bytes that a program prints and
// drops the others, so that the program does not wait for a reader.
type Output struct {
	buf   *bytes.Buffer
	limit int
	full  bool
}

// NewOutput returns a writer that keeps limit bytes, in buf.
func NewOutput(buf *bytes.Buffer, limit int) *Output { return &Output{buf: buf, limit: limit} }

// Write never fails.
func (o *Output) Write(p []byte) (int, error) {
	n := len(p)
	if room := o.limit - o.buf.Len(); n > room {
		p, o.full = p[:room], true
	}
	o.buf.Write(p)
	return n, nil
}

// Full reports whether bytes were dropped.
func (o *Output) Full() bool { return o.full }

// Reset forgets what is kept.
func (o *Output) Reset() { o.buf.Reset() }

// String is what is kept, without the space around it and the half of a
// character where it was cut.
func (o *Output) String() string {
	return strings.ToValidUTF8(strings.TrimSpace(o.buf.String()), "")
}
