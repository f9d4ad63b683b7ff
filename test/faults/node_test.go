//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// end ends a worker's process from within, with exit code 0, and waits for its end.
func (t *trial) end(w *worker) {
	t.Helper()
	t.must(syscall.Kill(int(w.Status.PID), syscall.SIGTERM))
	w.codes = append(w.codes, 0)
	t.awaitEnd(int(w.Status.PID))
}

func (t *trial) awaitEnd(pid int) {
	t.Helper()
	t.await("the worker's end", func(context.Context) []string {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return []string{fmt.Sprintf("process %d runs", pid)}
	})
}

// disksFull fills the disks while workers are launched and end.
func disksFull(t *trial) {
	ends := t.create(api.RestartAlways)
	t.settle()
	for _, disks := range [][]string{{"cache", "storm", "log"}, {"run"}} {
		var empty []func() error
		for _, disk := range disks {
			if disk == "cache" {
				t.removeAll("cache", "layers", "*") // so that there is something to fetch
			}
			e, err := t.stack.Fill(disk)
			t.must(err)
			empty = append(empty, e)
			t.inject("disks full", 1)
		}
		w := t.create(api.RestartAlways, 3)
		if disks[0] != "run" { // there, conmon cannot write down the exit code
			t.end(ends)
		}
		t.awaitFailure(w)
		t.killAgent()
		t.awaitAgent()
		for _, e := range empty {
			t.must(e())
		}
		t.settle()
	}
}

// removeAll deletes files of the node, as far as they are no mounts.
func (t *trial) removeAll(pattern ...string) {
	t.Helper()
	found, err := filepath.Glob(t.stack.Path(pattern...))
	t.must(err)
	if len(found) == 0 {
		t.Fatalf("nothing is at %s", filepath.Join(pattern...))
	}
	for _, f := range found {
		if err := os.RemoveAll(f); err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
	}
	t.inject("files and directories deleted", len(found))
}

// filesDeleted deletes what the agent has written, while it is there and while
// it is not.
func filesDeleted(t *trial) {
	damages := []struct {
		// lost tells that nobody can know how the run has ended.
		lost bool
		do   func(w *worker, id string)
	}{
		{true, func(_ *worker, id string) { t.removeAll("run", "workers", id, "record.json") }},
		{false, func(_ *worker, id string) { t.removeAll("run", "workers", id, "persist") }},
		{false, func(_ *worker, id string) { t.removeAll("run", "runc", id) }},
		{false, func(_ *worker, id string) { t.removeAll("run", "workers", id, "bundle") }},
		{false, func(_ *worker, id string) { t.removeAll("run", "workers", id, "persist", "record.json") }},
		{false, func(_ *worker, id string) {
			t.removeAll("run", "workers", id, "persist")
			t.removeAll("run", "runc", id)
		}},
		{true, func(_ *worker, id string) {
			for _, name := range []string{"bundle", "persist", "record.json"} {
				t.removeAll("run", "workers", id, name)
			}
			t.removeAll("run", "runc", id)
		}},
		{false, func(w *worker, id string) {
			t.end(w)
			t.removeAll("run", "exits", id)
			w.unseenLast = true
		}},
	}
	var workers []*worker
	for range damages {
		workers = append(workers, t.create(api.RestartAlways))
	}
	t.settle()
	t.removeAll("cache", "layers", "*") // mounted, all of them
	t.create(api.RestartAlways, 3)
	t.settle()
	t.killAgent()
	for i, d := range damages {
		d.do(workers[i], workers[i].ContainerID())
		if d.lost {
			workers[i].unseen, workers[i].unseenLast = 1, true
		}
	}
	t.awaitAgent()
	for i, d := range damages {
		if w := workers[i]; !d.lost && len(w.codes) == 0 {
			pid := w.Status.PID
			t.awaitReason(w, api.ReasonRunning)
			if w.Status.PID != pid {
				t.Errorf("damage %d: process %d is %d now", i, pid, w.Status.PID)
			}
			t.end(w) // what was deleted is made anew for the next run
		}
	}
}

// reboot does to the node what a reboot does, and starts the agent. A worker
// is deleted while the node is down.
func reboot(t *trial) {
	t.create(api.RestartNever, 5)
	t.settle()
	t.killAgent()
	for _, w := range t.present {
		if goalOf(w).reason == api.ReasonRunning {
			w.unseen, w.unseenLast = w.unseen+1, true
		}
	}
	t.must(t.stack.Crash())
	t.delete(t.present[0])
	t.inject("reboots", 1)
}

// mountsFail has the kernel refuse what it is asked for, on a node without workers.
func mountsFail(t *trial) {
	t.clear()
	t.killAgent()
	t.must(t.stack.StartAgentWithoutLoopDevices())
	t.awaitFailure(t.create(api.RestartAlways))
	t.inject("attachments of loop devices that fail", 1)
	t.killAgent()
	t.startAgent()
	t.clear()

	obstacles := t.spoilLayers()
	t.awaitFailure(t.create(api.RestartAlways))
	t.inject("mounts that fail", len(obstacles))
	for _, o := range obstacles {
		t.must(os.Remove(o))
	}
}

// spoilLayers overwrites the superblocks of all layers in the cache, in a way
// that the agent cannot notice without reading them: only the kernel does.
func (t *trial) spoilLayers() []string {
	t.Helper()
	layers, err := filepath.Glob(t.stack.Path("cache", "layers", "*.sqsh"))
	t.must(err)
	for _, l := range layers {
		info, err := os.Stat(l)
		t.must(err)
		f, err := os.OpenFile(l, os.O_WRONLY, 0)
		t.must(err)
		_, err = f.Write(make([]byte, 96))
		t.must(errors.Join(err, f.Close(), os.Chtimes(l, time.Time{}, info.ModTime())))
	}
	return layers
}
