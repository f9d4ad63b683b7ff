package main

import (
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onTerminal runs the plugin on a real terminal, which script makes. It gives
// what was shown, once it holds a text; then it interrupts, if that is asked for.
func (f *fixture) onTerminal(until string, interrupt bool, args ...string) string {
	f.t.Helper()
	program := filepath.Join(f.t.TempDir(), "kubectl-storm")
	if out, err := exec.CommandContext(f.t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		f.t.Fatalf("%v:\n%s", err, out)
	}
	line := append([]string{"exec", program, "--kubeconfig", f.kubeconfig, "--namespace", f.namespace}, args...)
	c := exec.CommandContext(f.t.Context(), "script", "--quiet", "--return", "--command", strings.Join(line, " "), "/dev/null")
	c.Env = []string{"TERM=xterm", "HOME=" + f.t.TempDir(), "PATH=/usr/bin:/bin", "SHELL=/bin/sh"}
	keys, err := c.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	shown, err := c.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	var all bytes.Buffer
	for part := make([]byte, 4096); ; {
		n, err := shown.Read(part)
		all.Write(part[:n])
		if interrupt && strings.Contains(all.String(), until) {
			interrupt = false
			if _, err := io.WriteString(keys, "\x03"); err != nil {
				f.t.Error(err)
			}
		}
		if err != nil {
			break
		}
	}
	if err := c.Wait(); err != nil {
		f.t.Errorf("it ends with %v:\n%q", err, all.String())
	}
	if !strings.Contains(all.String(), until) {
		f.t.Errorf("it does not show %q:\n%q", until, all.String())
	}
	return all.String()
}

// TestTopOnTerminal shows screens until the figures are there, then ends it as a
// person does.
func TestTopOnTerminal(t *testing.T) {
	f := newFixture(t, figures())
	f.threeWorkers()
	shown := f.onTerminal("0.25/1.5", true, "top")
	for _, want := range []string{enterScreen, "1 of 3 workers run, with", "\x1b[32mRunning\x1b[0m", "\x1b[31mCrashLoopBackOff\x1b[0m", leaveScreen} {
		if !strings.Contains(shown, want) {
			t.Errorf("it does not show %q:\n%q", want, shown)
		}
	}
}

// TestLogsOnTerminal writes a log that would steer the terminal.
func TestLogsOnTerminal(t *testing.T) {
	f := newFixture(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n\x1b]0;owned\x07two\n")
	}))
	if shown := f.onTerminal("one\r\n␛]0;owned␇two\r\n", false, "logs", "clock"); strings.Contains(shown, "\x1b") {
		t.Errorf("it steers the terminal: %q", shown)
	}
}
