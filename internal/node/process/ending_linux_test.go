package process

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The first process of a pid namespace does not end before all others are gone and
// reaped. One of them is kept from that here, by a parent that is stopped.
func TestEnding(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a pid namespace")
	}
	first := exec.CommandContext(t.Context(), "sleep", "1000")
	first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := OpenPID(first.Process.Pid)
	if err != nil || h == nil {
		t.Fatal(h, err)
	}
	defer h.Close()
	parent := exec.CommandContext(t.Context(), "nsenter", "--pid", "--target", strconv.Itoa(first.Process.Pid),
		"sh", "-c", "echo there; exec sleep 1000")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "there\n" {
		t.Fatal(line, err)
	}
	if h.Ending() {
		t.Error("a process that lives is said to be ending")
	}
	signal(t, parent, syscall.SIGSTOP)
	await(t, "the parent is stopped", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(parent.Process.Pid), "stat"))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	signal(t, first, syscall.SIGKILL)
	await(t, "it is ending", h.Ending)
	if !h.Live() {
		t.Error("it has ended before the other is reaped")
	}
	signal(t, parent, syscall.SIGCONT)
	_ = parent.Wait()
	_ = first.Wait()
	if h.Live() || !h.Ending() {
		t.Error("it has not ended")
	}
}

func signal(t *testing.T, c *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after a minute not yet: " + what)
		}
	}
}
