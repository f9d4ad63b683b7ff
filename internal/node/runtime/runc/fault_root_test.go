package runc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// What runs in the container must not escape Delete by leaving its session.
func TestDeleteKillsEverything(t *testing.T) {
	b := newBox(t)
	b.run("parent")
	b.waitLog("ready", 1)
	pids, err := b.cgroups.Members(containerGroup(testID))
	b.must(err)
	if len(pids) != 2 {
		t.Fatalf("processes %v, want two", pids)
	}
	b.must(b.Delete(t.Context(), testID))
	for pid := range pids {
		if runs(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestDeleteWithDamagedState(t *testing.T) {
	for name, damage := range map[string]func(*box) error{
		"runc's state is garbage": func(b *box) error {
			return os.WriteFile(filepath.Join(b.stateDir(testID), "state.json"), []byte("{"), 0o600)
		},
		"runc's state is gone": func(b *box) error { return os.RemoveAll(b.stateDir(testID)) },
		"runc was killed while its program was mounted": func(b *box) error {
			at := filepath.Join(b.stateDir(testID), "runc.x4tHm2")
			return errors.Join(os.WriteFile(at, nil, 0o600), unix.Mount("/usr/sbin/runc", at, "", unix.MS_BIND, ""))
		},
		"our record is garbage": func(b *box) error {
			return os.WriteFile(filepath.Join(b.persistDir(testID), recordFile), []byte("["), 0o600)
		},
		"our records are gone": func(b *box) error { return os.RemoveAll(b.persistDir(testID)) },
		"conmon was killed while it wrote the exit file": func(b *box) error {
			return os.WriteFile(b.exitFile(testID)+".4HZDZ3", []byte("1"), 0o600)
		},
		"all is gone but processes": func(b *box) error {
			return errors.Join(os.RemoveAll(b.persistDir(testID)), os.RemoveAll(b.stateRoot()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			s := b.run("forever")
			b.must(damage(b))
			b.must(b.Delete(t.Context(), testID))
			if runs(s.PID) {
				t.Error("the container's process is left")
			}
		})
	}
}

// A process that has ended and that nobody has reaped, since conmon hangs, is
// no process that runs.
func TestZombie(t *testing.T) {
	b := newBox(t)
	b.run("sleep")
	rec, err := b.find(t.Context(), testID)
	b.must(err)
	b.must(syscall.Kill(rec.Conmon.PID, syscall.SIGSTOP))
	b.must(b.Signal(t.Context(), testID, syscall.SIGKILL, false))
	b.eventually("it is a zombie", func() bool { return !runs(rec.Init.PID) })
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", rec.Init.PID)); err != nil {
		t.Fatal("it was reaped: ", err)
	}
	b.must(b.Signal(t.Context(), testID, syscall.SIGTERM, true)) // it has ended: no error
	b.must(b.Delete(t.Context(), testID))
	for _, p := range []process.Process{rec.Init, rec.Conmon} {
		if runs(p.PID) {
			t.Errorf("process %d is left", p.PID)
		}
	}
}

// A pid that has gone to another process must never be signalled.
func TestReusedPIDIsNotOurs(t *testing.T) {
	b := newBox(t)
	other := exec.Command("sleep", "1000")
	b.must(other.Start())
	t.Cleanup(func() {
		if err := errors.Join(other.Process.Kill(), ignoreExit(other.Wait())); err != nil {
			t.Error(err)
		}
	})
	now, err := process.Identify(other.Process.Pid)
	b.must(err)
	b.must(os.MkdirAll(b.persistDir(testID), 0o700))
	stale := process.Process{PID: now.PID, Start: now.Start - 1}
	content, err := json.Marshal(record{Init: stale, Conmon: stale})
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.persistDir(testID), recordFile), content, 0o600))
	b.must(b.Signal(t.Context(), testID, syscall.SIGKILL, false))
	b.must(b.Signal(t.Context(), testID, syscall.SIGKILL, true))
	if exit := b.wait(); exit.Code != runtime.UnknownCode {
		t.Errorf("got %+v", exit)
	}
	b.must(b.Delete(t.Context(), testID))
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("the other process was killed")
	}
}

// Containers do not get in each other's way.
func TestSideBySide(t *testing.T) {
	b := newBox(t)
	b.spec([]string{"trap"}, nil)
	config, err := os.ReadFile(filepath.Join(b.bundle, "config.json"))
	b.must(err)
	var wg sync.WaitGroup
	for i := range 12 {
		id := fmt.Sprintf("%d-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", 6800+i)
		bundle := filepath.Join(b.workersDir(), id, "bundle")
		b.must(os.MkdirAll(bundle, 0o700))
		b.must(os.WriteFile(filepath.Join(bundle, "config.json"), bytes.ReplaceAll(config, []byte(testID), []byte(id)), 0o600))
		wg.Go(func() {
			if err := live(t.Context(), b.Runtime, id, bundle); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	wg.Wait()
}

// live takes a container through its life.
func live(ctx context.Context, r *Runtime, id, bundle string) error {
	if _, err := r.Create(ctx, id, bundle, 0); err != nil {
		return err
	}
	if err := r.Start(ctx, id); err != nil {
		return err
	}
	if err := r.Signal(ctx, id, syscall.SIGKILL, true); err != nil {
		return err
	}
	exit, err := r.Wait(ctx, id)
	if err == nil && exit.Signal != 9 {
		err = fmt.Errorf("exit %+v", exit)
	}
	return errors.Join(err, r.Delete(ctx, id))
}

// program puts a shell script in the place of runc or conmon.
func (b *box) program(body string) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "program")
	b.must(os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
	return path
}

func TestProgramsThatHangOrFail(t *testing.T) {
	for name, change := range map[string]func(*box){
		"conmon hangs":        func(b *box) { b.options.Conmon = b.program("sleep 1000") },
		"conmon fails":        func(b *box) { b.options.Conmon = b.program("echo no good >&2; exit 1") },
		"conmon says nothing": func(b *box) { b.options.Conmon = b.program("exit 0") },
		"conmon is missing":   func(b *box) { b.options.Conmon = "/no/such/conmon" },
		"runc hangs":          func(b *box) { b.options.Runc = b.program("sleep 1000") },
		"runc is killed":      func(b *box) { b.options.Runc = b.program("kill -9 $$") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.spec([]string{"sleep"}, nil)
			good := b.options
			change(b)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			begin := time.Now()
			if _, err := b.Create(ctx, testID, b.bundle, 0); err == nil {
				t.Error("no error")
			} else {
				t.Log(err)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %v", took)
			}
			b.options = good
		})
	}
}
