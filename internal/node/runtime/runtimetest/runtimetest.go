// Package runtimetest is the conformance suite of container runtimes: it tests real
// containers.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// ID is the container's of each test.
const ID = "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"

// Limits are a container's; 0 is none.
type Limits struct{ Memory, Pids int64 }

// Subject is a runtime without containers, whose only one will be ID.
type Subject struct {
	runtime.Runtime
	runtime.Logs
	// Bundle writes the bundle of a container that runs /bin/guest with these
	// arguments, as another user than root, and returns its directory.
	Bundle func(args []string, l Limits) string
	// Printed returns what the container has printed, without Logs.
	Printed func() string
	// Members returns the processes of a cgroup that Inspect has returned.
	Members func(cgroup string) (map[int]bool, error)
	// Again returns the runtime as the next agent has it.
	Again func() runtime.Runtime
}

// Programs that containers run. They need nothing else in their root file system.
const (
	// Guest does what the tests ask of it.
	Guest = "internal/node/runtime/runtimetest/testdata/guest"
	// Hostile works against its node.
	Hostile = "test/hostile/worker"
)

// BuildGuest builds one of the programs in dir. A machine without Go, as that of
// hack/vm.sh, brings them along.
func BuildGuest(dir, program string) (string, error) {
	if brought := os.Getenv("STORMCELL_TEST_PROGRAMS"); brought != "" {
		return filepath.Join(brought, filepath.Base(program)), nil
	}
	path := filepath.Join(dir, filepath.Base(program))
	c := exec.Command("go", "build", "-o", path, "github.com/stormcell/stormcell/"+program) //nolint:noctx // of tests
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", program, err, out)
	}
	return path, nil
}

// Run runs every test with a subject of its own.
func Run(t *testing.T, subject func(t *testing.T) *Subject) {
	t.Helper()
	for name, test := range map[string]func(*trial){
		"exit codes":                     exitCodes,
		"SIGTERM":                        signals(syscall.SIGTERM, "trap", runtime.Exit{Code: 42}),
		"SIGKILL to one that ignores":    signals(syscall.SIGKILL, "forever", runtime.Exit{Code: 137, Signal: 9}),
		"SIGKILL to all":                 signals(syscall.SIGKILL, "parent", runtime.Exit{Code: 137, Signal: 9}),
		"out of memory":                  oomKill,
		"limit on processes":             pidsLimit,
		"statuses":                       statuses,
		"inspect":                        inspect,
		"no container":                   unknown,
		"exec":                           execute,
		"exec that comes to nothing":     executeNothing,
		"log":                            log,
		"create does not replace":        notReplaced,
		"delete ends what runs":          deleteRunning,
		"a second container of the id":   again,
		"the next agent adopts":          adopted,
		"an end between two agents":      endedBetween,
		"wait ends with its context":     waitCancelled,
		"a program that the image lacks": noProgram,
	} {
		t.Run(name, func(t *testing.T) {
			b := &trial{t: t, Subject: subject(t)}
			t.Cleanup(b.clean)
			test(b)
		})
	}
}

// trial is one test.
type trial struct {
	*Subject
	t *testing.T
}

func (b *trial) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// clean deletes the container: twice, since what is not there is no error.
func (b *trial) clean() {
	for range 2 {
		if err := b.Delete(context.Background(), ID); err != nil {
			b.t.Error(err)
		}
	}
	if list, err := b.List(context.Background()); err != nil || len(list) != 0 {
		b.t.Errorf("left: %v, %v", list, err)
	}
}

func (b *trial) create(l Limits, args ...string) {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), ID, b.Bundle(args, l), 0)
	b.must(err)
	if s.ID != ID || s.Status != runtime.Created {
		b.t.Errorf("created %+v", s)
	}
}

func (b *trial) run(args ...string) {
	b.t.Helper()
	b.create(Limits{}, args...)
	b.must(b.Start(b.t.Context(), ID))
}

// wait waits for the end, and checks when it was.
func (b *trial) wait() runtime.Exit {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	exit, err := b.Wait(ctx, ID)
	b.must(err)
	if age := time.Since(exit.At); age < 0 || age > time.Minute {
		b.t.Errorf("it ended %v ago", age)
	}
	exit.At = time.Time{}
	return exit
}

func (b *trial) wants(want runtime.Exit) {
	b.t.Helper()
	for range 2 { // it is told until Delete
		if d := cmp.Diff(want, b.wait()); d != "" {
			b.t.Error(d)
		}
	}
}

func (b *trial) status() runtime.Status {
	b.t.Helper()
	list, err := b.List(b.t.Context())
	b.must(err)
	if len(list) != 1 || list[0].ID != ID {
		b.t.Fatalf("list %v", list)
	}
	return list[0].Status
}

// ready waits until the guest says that it is.
func (b *trial) ready() {
	b.t.Helper()
	b.eventually("the guest is ready", func() bool { return strings.Contains(b.Printed(), "ready") })
}

// eventually polls a condition that nothing can wait for.
func (b *trial) eventually(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatal("did not come to pass: ", what)
		}
	}
}

func exitCodes(b *trial) {
	for _, tt := range []struct {
		args []string
		want runtime.Exit
	}{
		{[]string{"exit", "0"}, runtime.Exit{}},
		{[]string{"exit", "7"}, runtime.Exit{Code: 7}},
		{[]string{"raise"}, runtime.Exit{Code: 137, Signal: 9}},
	} {
		b.run(tt.args...)
		b.wants(tt.want)
		b.must(b.Delete(b.t.Context(), ID))
	}
}

func signals(sig syscall.Signal, verb string, want runtime.Exit) func(*trial) {
	return func(b *trial) {
		b.run(verb)
		b.ready()
		all := sig == syscall.SIGKILL
		b.must(b.Signal(b.t.Context(), ID, sig, all))
		b.wants(want)
		b.must(b.Signal(b.t.Context(), ID, sig, all)) // it has ended: no error
	}
}

func oomKill(b *trial) {
	b.create(Limits{Memory: 32 << 20}, "eat")
	b.must(b.Start(b.t.Context(), ID))
	b.wants(runtime.Exit{Code: 137, Signal: 9, OOMKilled: true})
}

func pidsLimit(b *trial) {
	const limit = 40
	b.create(Limits{Pids: limit}, "multiply")
	b.must(b.Start(b.t.Context(), ID))
	// Its code is not told: Go's runtime ends a program that lacks a thread.
	if exit := b.wait(); exit.Code == 0 {
		b.t.Errorf("got %+v", exit)
	}
	if n := strings.Count(b.Printed(), "ready"); n == 0 || n >= limit {
		b.t.Errorf("%d processes were started", n)
	}
}

func statuses(b *trial) {
	if list, err := b.List(b.t.Context()); err != nil || len(list) != 0 {
		b.t.Errorf("at first: %v, %v", list, err)
	}
	want := func(want runtime.Status) {
		b.t.Helper()
		if s := b.status(); s != want {
			b.t.Errorf("it is %s, want %s", s, want)
		}
	}
	b.create(Limits{}, "sleep")
	want(runtime.Created)
	b.must(b.Start(b.t.Context(), ID))
	want(runtime.Running)
	b.must(b.Signal(b.t.Context(), ID, syscall.SIGKILL, false))
	b.wait()
	want(runtime.Stopped)
}

func inspect(b *trial) {
	b.run("sleep")
	info, err := b.Inspect(b.t.Context(), ID)
	b.must(err)
	members, err := b.Members(info.Cgroup)
	b.must(err)
	if now, err := process.Identify(info.Init.PID); err != nil || now != info.Init || !members[now.PID] {
		b.t.Errorf("%+v is %+v now (%v), and its cgroup has %v", info, now, err, members)
	}
}

func log(b *trial) {
	if _, err := b.Log(b.t.Context(), ID, runtime.LogOptions{}); !errors.Is(err, runtime.ErrNoLog) {
		b.t.Errorf("log of no container: error = %v", err)
	}
	b.run("trap")
	b.ready()
	b.wantLog()
	follows, err := b.Log(b.t.Context(), ID, runtime.LogOptions{Follow: true})
	b.must(err)
	b.must(b.Signal(b.t.Context(), ID, syscall.SIGTERM, false))
	text, err := io.ReadAll(follows) // until the container has ended
	b.must(errors.Join(err, follows.Close()))
	if string(text) != "ready\n" {
		b.t.Errorf("followed: %q", text)
	}
	b.wantLog()
	b.must(b.Delete(b.t.Context(), ID))
	b.must(b.RemoveLogs(ID))
	if _, err := b.Log(b.t.Context(), ID, runtime.LogOptions{}); !errors.Is(err, runtime.ErrNoLog) {
		b.t.Errorf("log that was removed: error = %v", err)
	}
	old, err := b.OldLogs(time.Now().Add(time.Hour))
	if err != nil || len(old) != 0 {
		b.t.Errorf("logs that are left: %v, %v", old, err)
	}
}

func (b *trial) wantLog() {
	b.t.Helper()
	stream, err := b.Log(b.t.Context(), ID, runtime.LogOptions{})
	b.must(err)
	text, err := io.ReadAll(stream)
	b.must(errors.Join(err, stream.Close()))
	if string(text) != "ready\n" {
		b.t.Errorf("log %q", text)
	}
}

func unknown(b *trial) {
	_, waitErr := b.Wait(b.t.Context(), ID)
	_, inspectErr := b.Inspect(b.t.Context(), ID)
	for _, err := range []error{waitErr, inspectErr, b.exec(ID, runtime.Program{}), b.Signal(b.t.Context(), ID, syscall.SIGTERM, false)} {
		if !errors.Is(err, runtime.ErrNotFound) {
			b.t.Errorf("error = %v", err)
		}
	}
	for _, id := range []string{"", ".", "../../etc", "6703-x", ID + "/.."} {
		_, createErr := b.Create(b.t.Context(), id, b.Bundle([]string{"sleep"}, Limits{}), 0)
		_, waitErr := b.Wait(b.t.Context(), id)
		_, inspectErr := b.Inspect(b.t.Context(), id)
		for i, err := range []error{
			createErr, waitErr, inspectErr, b.exec(id, runtime.Program{}), b.Start(b.t.Context(), id), b.Delete(b.t.Context(), id), b.RemoveLogs(id), b.Signal(b.t.Context(), id, syscall.SIGKILL, true),
		} {
			if !errors.Is(err, runtime.ErrInvalidID) {
				b.t.Errorf("call %d with id %q: error = %v", i, id, err)
			}
		}
	}
}

func notReplaced(b *trial) {
	b.run("sleep")
	if _, err := b.Create(b.t.Context(), ID, b.Bundle([]string{"sleep"}, Limits{}), 1); !errors.Is(err, runtime.ErrExists) {
		b.t.Errorf("create over one that runs: error = %v", err)
	}
	if s := b.status(); s != runtime.Running {
		b.t.Errorf("it is %s now", s)
	}
}

func deleteRunning(b *trial) {
	b.run("parent")
	b.ready()
	info, err := b.Inspect(b.t.Context(), ID)
	b.must(err)
	b.must(b.Delete(b.t.Context(), ID))
	if members, err := b.Members(info.Cgroup); err != nil || len(members) != 0 {
		b.t.Errorf("processes %v run on (%v)", members, err)
	}
	if _, err := b.Wait(b.t.Context(), ID); !errors.Is(err, runtime.ErrNotFound) {
		b.t.Errorf("wait for it: %v", err)
	}
}

func again(b *trial) {
	for code := range 3 {
		_, err := b.Create(b.t.Context(), ID, b.Bundle([]string{"exit", strconv.Itoa(code)}, Limits{}), code)
		b.must(err)
		b.must(b.Start(b.t.Context(), ID))
		b.wants(runtime.Exit{Code: code})
		b.must(b.Delete(b.t.Context(), ID))
	}
}

func adopted(b *trial) {
	b.run("trap")
	b.ready()
	b.Runtime = b.Again()
	if s := b.status(); s != runtime.Running {
		b.t.Errorf("it is %s for the next agent", s)
	}
	ended := make(chan runtime.Exit)
	go func() { ended <- b.wait() }()
	b.must(b.Signal(b.t.Context(), ID, syscall.SIGTERM, false))
	if exit := <-ended; exit.Code != 42 {
		b.t.Errorf("got %+v", exit)
	}
}

func endedBetween(b *trial) {
	b.run("exit", "7")
	b.wait()
	b.Runtime = b.Again()
	b.wants(runtime.Exit{Code: 7})
}

func waitCancelled(b *trial) {
	b.run("sleep")
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error)
	go func() { _, err := b.Wait(ctx, ID); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		b.t.Errorf("error = %v", err)
	}
}

// noProgram is told by Create or by Start, and nothing is in the way of the next.
func noProgram(b *trial) {
	_, err := b.Create(b.t.Context(), ID, b.Bundle([]string{NoProgram}, Limits{}), 0)
	if err == nil {
		err = b.Start(b.t.Context(), ID)
	}
	if !errors.Is(err, runtime.ErrCreate) || !strings.Contains(err.Error(), `the image has no program "`+NoProgram+`"`) {
		b.t.Errorf("error = %v", err)
	}
	b.must(b.Delete(b.t.Context(), ID))
	b.run("exit", "3")
	b.wants(runtime.Exit{Code: 3})
}

// NoProgram as the first argument stands for a program in the place of the
// guest that the image has not got.
const NoProgram = "no-such-program"
