package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hang tells TestMain to call a program that hangs, and is its path.
const hang = "STORMCELL_TEST_HANG"

func TestMain(m *testing.M) {
	if path := os.Getenv(hang); path != "" {
		if err := New(path, "", "").Start(context.Background(), "box"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// fake puts a shell script in the place of runc.
func fake(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// calls are all calls of a client, by their commands.
func calls(c *Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"start":     func(ctx context.Context) error { return c.Start(ctx, "box") },
		"delete":    func(ctx context.Context) error { return c.Delete(ctx, "box") },
		"state":     func(ctx context.Context) error { _, err := c.State(ctx, "box"); return err },
		"list":      func(ctx context.Context) error { _, err := c.List(ctx); return err },
		"features":  func(ctx context.Context) error { _, err := c.Features(ctx); return err },
		"--version": func(ctx context.Context) error { _, err := c.Version(ctx); return err },
	}
}

func TestErrorsAreSentences(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"it complains", fake(t, "echo container is not created >&2; exit 1"), ": exit status 1: container is not created"},
		{"it also prints", fake(t, "echo output; echo no >&2; exit 1"), ": exit status 1: no"},
		{"it says nothing", fake(t, "exit 7"), ": exit status 7"},
		{"it is killed", fake(t, "kill -9 $$"), ": signal: killed"},
		{"it is missing", "/no/runc", ": fork/exec /no/runc: no such file or directory"},
	} {
		for command, do := range calls(New(tt.path, "", "")) {
			t.Run(tt.name+": "+command, func(t *testing.T) {
				err := do(t.Context())
				if err == nil {
					t.Fatal("no error")
				}
				if d := cmp.Diff("runc "+command+tt.want, err.Error()); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	for command, do := range calls(New(fake(t, "head -c 17000000 /dev/zero"), "", "")) {
		if err := do(t.Context()); err == nil || err.Error() != "runc "+command+": printed more than 16777216 bytes" {
			t.Errorf("much output: %.100v", err)
		}
	}
	for command, do := range calls(New(fake(t, "head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2; exit 1"), "", "")) {
		err := do(t.Context())
		if err == nil {
			t.Fatal("no error")
		}
		if want := "runc " + command + ": exit status 1: " + strings.Repeat("y", 2048); err.Error() != want {
			t.Errorf("%s: an error of %d bytes: %.100v", command, len(err.Error()), err)
		}
	}
}

func TestOnlyStdoutIsParsed(t *testing.T) {
	c := New(fake(t, `echo warning >&2
for last; do :; done
case $last in
box) echo '{"id": "box", "pid": 7, "status": "created"}';;
--format=json) echo '[null, {"id": "box"}]';;
esac`), "", "")
	state, err := c.State(t.Context(), "box")
	if err != nil || state.Pid != 7 || state.Status != "created" {
		t.Errorf("state %+v, %v", state, err)
	}
	list, err := c.List(t.Context())
	if err != nil || len(list) != 2 || list[1].ID != "box" {
		t.Errorf("list %+v, %v", list, err)
	}
	// No list is not an empty one.
	if list, err := New(fake(t, ""), "", "").List(t.Context()); err == nil {
		t.Errorf("without output: %+v", list)
	}
}

func TestArgumentsAndEnvironment(t *testing.T) {
	t.Setenv("STORMCELL_TEST_SECRET", "secret")
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	dir := t.TempDir()
	c := New(fake(t, `printf '%s\n' "$@" > "${0%/*}/args"; tr '\0' '\n' < /proc/$$/environ > "${0%/*}/environ"`), "/the/root", filepath.Join(dir, "new/log"))
	if err := c.Delete(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []string {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(c.runc.Command), name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(content))
	}
	if d := cmp.Diff(append(c.GlobalArgs(), "delete", "--force", "box"), read("args")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, read("environ")); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error("runc would do nothing without its log's directory: ", err)
	}
}

// A program's children end with it, or else they would act on a container
// after the call for it was abandoned.
func TestGroupEndsWithContext(t *testing.T) {
	path := fake(t, `sleep 1000 & echo $! > "${0%/*}/new"; mv "${0%/*}/new" "${0%/*}/pid"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- New(path, "", "").Start(ctx, "box") }()
	child := childOf(t, path)
	cancel()
	checkCanceled(t, result)
	eventually(t, "the child ends", func() bool { return !runs(child) })
}

// A child that has left the group holds nobody up, though it has the output.
func TestChildThatLeavesTheGroup(t *testing.T) {
	path := fake(t, `setsid sleep 1000 & echo $! > "${0%/*}/new"; mv "${0%/*}/new" "${0%/*}/pid"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- New(path, "", "").Start(ctx, "box") }()
	child := childOf(t, path)
	cancel()
	checkCanceled(t, result)
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// A program that hangs ends with the agent that called it.
func TestProgramEndsWithAgent(t *testing.T) {
	path := fake(t, `echo $$ > "${0%/*}/new"; mv "${0%/*}/new" "${0%/*}/pid"; exec sleep 1000`)
	agent := exec.Command("/proc/self/exe")
	agent.Env = append(os.Environ(), hang+"="+path)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := childOf(t, path)
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err == nil {
		t.Error("the agent ended by itself")
	}
	eventually(t, "the program ends", func() bool { return !runs(pid) })
}

// The monitor runs nothing whose output it cannot bound.
func TestNoPipes(t *testing.T) {
	c := New(fake(t, "echo '{}'"), "", "")
	if _, err := c.runc.Stats(t.Context(), "box"); !errors.Is(err, errPiped) {
		t.Errorf("error %v", err)
	}
}

// checkCanceled waits for the error of a call whose context has ended.
func checkCanceled(t *testing.T, result <-chan error) {
	t.Helper()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) || err.Error() != "runc start: context canceled" {
			t.Errorf("error %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the call does not return")
	}
}

// childOf waits for the pid that a fake program writes down.
func childOf(t *testing.T, path string) int {
	t.Helper()
	var pid int
	eventually(t, "the program writes a pid", func() bool {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(path), "pid"))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	})
	return pid
}

// runs is false for a process that has ended, though nobody may have reaped it.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// eventually polls a condition that nothing can wait for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not come to pass: ", what)
		}
	}
}
