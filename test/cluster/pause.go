package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Pause stops the API server, as seen by those who talk to it: it takes their
// connections and answers nothing, until Resume.
func (c *Cluster) Pause() error { return c.signal(syscall.SIGSTOP) }

// Resume lets the API server go on.
func (c *Cluster) Resume() error { return c.signal(syscall.SIGCONT) }

// signal sends a signal to the API server, a child of this process that
// package envtest keeps to itself.
func (c *Cluster) signal(sig syscall.Signal) error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range processes {
		status, err := os.ReadFile(dir + "/status")
		if err != nil || !strings.HasPrefix(string(status), "Name:\tkube-apiserver\n") ||
			!bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", os.Getpid())) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, sig)
	}
	return errors.New("the API server does not run")
}
