package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

func TestConmonIsOutOfOurCgroup(t *testing.T) {
	b := newBox(t)
	b.run("sleep")
	rec, err := b.find(t.Context(), testID)
	b.must(err)
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", rec.Conmon.PID))
	b.must(err)
	for line := range strings.Lines(string(content)) {
		if path := strings.SplitN(strings.TrimSpace(line), ":", 3)[2]; path != b.options.CgroupParent+"/"+monitorGroup(testID) {
			t.Errorf("conmon is in %s", line)
		}
	}
	for _, fd := range []string{"0", "1", "2"} {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", rec.Conmon.PID, fd))
		b.must(err)
		if target != "/dev/null" {
			t.Errorf("conmon's fd %s is %s", fd, target)
		}
	}
}

func TestConmonKilled(t *testing.T) {
	b := newBox(t)
	b.run("sleep")
	rec, err := b.find(t.Context(), testID)
	b.must(err)
	b.must(syscall.Kill(rec.Conmon.PID, syscall.SIGKILL))
	b.must(waitFor(t.Context(), rec.Conmon))
	b.must(b.Signal(t.Context(), testID, syscall.SIGKILL, false)) // it still runs
	if exit := b.wait(); exit.Code != runtime.UnknownCode {
		t.Errorf("got %+v, want the unknown code", exit)
	}
}

// createAndDie is the agent that creates a container and is killed.
func createAndDie(options string) {
	var in struct {
		Options Options
		Bundle  string
	}
	if err := json.Unmarshal([]byte(options), &in); err != nil {
		panic(err)
	}
	r := New(in.Options)
	if _, err := r.Create(context.Background(), testID, in.Bundle, 0); err != nil {
		panic(err)
	}
	if err := r.Start(context.Background(), testID); err != nil {
		panic(err)
	}
	if err := syscall.Kill(0, syscall.SIGKILL); err != nil { // with its whole process group
		panic(err)
	}
	select {}
}

func (b *box) runInOtherProcess(args ...string) {
	b.t.Helper()
	b.spec(args, nil)
	in, err := json.Marshal(map[string]any{"Options": b.options, "Bundle": b.bundle})
	b.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "STORMCELL_TEST_CREATE="+string(in))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if ee, ok := errors.AsType[*exec.ExitError](err); !ok || ee.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		b.t.Fatalf("the other agent: %v: %s", err, out)
	}
}

func TestContainerOutlivesItsAgent(t *testing.T) {
	b := newBox(t)
	b.runInOtherProcess("trap")
	b.waitLog("ready", 1)
	list, err := b.List(t.Context())
	b.must(err)
	if len(list) != 1 || list[0].Status != runtime.Running {
		t.Fatalf("list %v", list)
	}
	b.must(b.Signal(t.Context(), testID, syscall.SIGTERM, false))
	if exit := b.wait(); exit.Code != 42 {
		t.Errorf("got %+v", exit)
	}
}

func TestExitWhileNoAgentRan(t *testing.T) {
	b := newBox(t)
	b.runInOtherProcess("exit", "7")
	b.eventually("exit file", func() bool { _, err := os.Stat(b.exitFile(testID)); return err == nil })
	if exit := b.wait(); exit.Code != 7 {
		t.Errorf("got %+v", exit)
	}
}

// An agent that was killed between conmon's answer and its own record, or
// whose record this one cannot read.
func TestAdoptWithoutRecord(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"none":               os.Remove,
		"half written":       func(path string) error { return os.WriteFile(path, []byte(`{"init":{"pi`), 0o600) },
		"of another version": func(path string) error { return os.WriteFile(path, []byte(`{"processes":[1,2]}`), 0o600) },
		"half written beside": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path+".new", []byte("{"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			s := b.run("trap")
			b.waitLog("ready", 1)
			b.must(damage(filepath.Join(b.persistDir(testID), recordFile)))
			rec, err := b.find(t.Context(), testID)
			b.must(err)
			if rec.Init.PID != s.PID || rec.Conmon.PID == 0 {
				t.Errorf("found %+v", rec)
			}
			b.must(b.Signal(t.Context(), testID, syscall.SIGTERM, false))
			if exit := b.wait(); exit.Code != 42 {
				t.Errorf("got %+v", exit)
			}
		})
	}
}

// TestReleasedRecordsAreRead: of every version that was released, for ever.
func TestReleasedRecordsAreRead(t *testing.T) {
	b := newBox(t)
	content, err := os.ReadFile("testdata/record-v1.json")
	b.must(err)
	b.must(os.MkdirAll(b.persistDir(testID), 0o700))
	b.must(os.WriteFile(filepath.Join(b.persistDir(testID), recordFile), content, 0o600))
	rec, err := b.find(t.Context(), testID)
	b.must(err)
	if want := (record{Init: process.Process{PID: 4194301, Start: 7}, Conmon: process.Process{PID: 4194302, Start: 6}}); rec != want {
		t.Errorf("read %+v, want %+v", rec, want)
	}
}

// Nothing but the exit file is left: runc's state and our records are lost.
func TestExitOfAContainerWhoseStateIsLost(t *testing.T) {
	b := newBox(t)
	b.run("exit", "9")
	b.wait()
	b.must(os.RemoveAll(b.stateDir(testID)))
	if exit := b.wait(); exit.Code != 9 { // our record tells
		t.Errorf("without runc's state: %+v", exit)
	}
	b.must(os.Remove(filepath.Join(b.persistDir(testID), recordFile)))
	if exit := b.wait(); exit.Code != 9 { // the exit file tells
		t.Errorf("without records: %+v", exit)
	}
	list, err := b.List(t.Context())
	b.must(err)
	if len(list) != 1 || list[0].Status != runtime.Stopped {
		t.Errorf("list %v, want it as stopped: somebody has to delete it", list)
	}
}

// Whatever of its records is deleted, the end of a container is told.
func TestEndWithoutRecords(t *testing.T) {
	for name, records := range map[string]func(*box) []string{
		"ours and conmon's": func(b *box) []string { return []string{b.persistDir(testID)} },
		"runc's":            func(b *box) []string { return []string{b.stateDir(testID)} },
		"all":               func(b *box) []string { return []string{b.persistDir(testID), b.stateDir(testID)} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			s := b.run("trap")
			b.waitLog("ready", 1)
			for _, dir := range records(b) {
				b.must(os.RemoveAll(dir))
			}
			_, err := b.find(t.Context(), testID) // as an agent does when it adopts it
			b.must(err)
			b.must(syscall.Kill(s.PID, syscall.SIGTERM))
			if exit := b.wait(); exit.Code != 42 {
				t.Errorf("got %+v", exit)
			}
		})
	}
}

// A container of which everything in the run root was deleted is known by its
// cgroups: else its root file system would be undone under it.
func TestKnownByItsCgroups(t *testing.T) {
	b := newBox(t)
	s := b.run("sleep")
	for _, dir := range []string{b.workersDir(), b.stateRoot(), b.exitDir()} {
		b.must(os.RemoveAll(dir))
	}
	list, err := b.List(t.Context())
	b.must(err)
	if len(list) != 1 || list[0].ID != testID {
		t.Fatalf("list %v", list)
	}
	b.must(b.Signal(t.Context(), testID, syscall.SIGKILL, true))
	b.eventually("its end", func() bool { return !runs(s.PID) })
	b.must(b.Delete(t.Context(), testID))
}

// A "runc start" that was killed when it had let the process go and not noted
// that yet: runc takes the process for one that waits.
func TestStartedWhateverRuncSays(t *testing.T) {
	b := newBox(t)
	b.spec([]string{"trap"}, nil)
	_, err := b.Create(t.Context(), testID, b.bundle, 0)
	b.must(err)
	status := func() runtime.Status {
		list, err := b.List(t.Context())
		b.must(err)
		if len(list) != 1 {
			t.Fatalf("list %v", list)
		}
		return list[0].Status
	}
	if s := status(); s != runtime.Created {
		t.Errorf("before its start: %s", s)
	}
	b.must(b.Start(t.Context(), testID))
	b.waitLog("ready", 1)
	b.must(unix.Mkfifo(filepath.Join(b.stateDir(testID), "exec.fifo"), 0o600))
	if s := status(); s != runtime.Running {
		t.Errorf("after its start: %s", s)
	}
}

// A program that hangs ends with the agent that called it: it would act on
// whatever has its container's name then.
func TestHungRuncEndsWithItsAgent(t *testing.T) {
	b := newBox(t)
	good, hung := b.options.Runc, filepath.Join(t.TempDir(), "pid")
	b.options.Runc = b.program(`case " $* " in *" start "*) echo $$ >` + hung + `; exec sleep 1000 ;; esac; exec ` + good + ` "$@"`)
	b.spec([]string{"sleep"}, nil)
	in, err := json.Marshal(map[string]any{"Options": b.options, "Bundle": b.bundle})
	b.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "STORMCELL_TEST_CREATE="+string(in))
	b.must(cmd.Start())
	var pid int
	b.eventually("start hangs", func() bool {
		content, _ := os.ReadFile(hung)
		n, err := fmt.Sscan(string(content), &pid)
		return n == 1 && err == nil
	})
	b.must(cmd.Process.Kill())
	b.must(ignoreExit(cmd.Wait()))
	b.eventually("its end", func() bool { return !runs(pid) })
	b.options.Runc = good
}

// An agent that is killed at any moment of Create leaves nothing that Delete
// does not find, and that would be in the way of the next Create.
func TestKilledDuringCreate(t *testing.T) {
	b := newBox(t)
	for i := range 40 {
		b.spec([]string{"exit", "5"}, nil)
		in, err := json.Marshal(map[string]any{"Options": b.options, "Bundle": b.bundle})
		b.must(err)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "STORMCELL_TEST_CREATE="+string(in))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		b.must(cmd.Start())
		b.eventually("Create has begun", func() bool { _, err := os.Stat(b.persistDir(testID)); return err == nil })
		time.Sleep(time.Duration(i) * 2 * time.Millisecond) // the fault's own moment
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		b.must(ignoreExit(cmd.Wait()))
		monitors, err := b.cgroups.Members(monitorGroup(testID))
		b.must(err)
		record, err := b.find(t.Context(), testID)
		t.Logf("killed after %d ms: monitors %v, found %+v, %v", 2*i, monitors, record, err)
		b.must(b.Delete(t.Context(), testID))
		b.eventually("no process is left", func() bool { return len(processesOf(t, b.options.RunRoot)) == 0 })
		if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
			t.Fatalf("killed after %d ms: left %v, %v", 2*i, list, err)
		}
	}
	b.run("exit", "5")
	if exit := b.wait(); exit.Code != 5 {
		t.Errorf("then: %+v", exit)
	}
}

// What is in the agent's environment, secrets perhaps, is nobody else's.
func TestProgramsGetNoEnvironment(t *testing.T) {
	t.Setenv("STORMCELL_TEST_SECRET", "secret")
	b := newBox(t)
	b.run("sleep")
	conmon, err := b.monitor(testID)
	b.must(err)
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", conmon.PID))
	b.must(err)
	if text := string(environ); strings.Contains(text, "SECRET") || !strings.Contains(text, "PATH=/usr/sbin") {
		t.Errorf("conmon has the environment %q", text)
	}
}
