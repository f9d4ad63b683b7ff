//go:build faults

package faults

import (
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// awaitFailure waits until a launch of a worker has failed.
func (t *trial) awaitFailure(w *worker) {
	t.Helper()
	t.await(w.Name, func(ctx context.Context) []string {
		left := t.notYet(ctx, w, "")
		if c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); c != nil && strings.Contains(c.Message, "next attempt at") {
			return nil
		}
		return left
	})
}

func (t *trial) orderProgram(name, command, order string) {
	t.Helper()
	t.must(t.stack.OrderProgram(name, command, order))
}

// programsFail lets runc and conmon fail in each way that they can.
func programsFail(t *trial) {
	for _, fault := range []struct{ name, command, order string }{
		{"runc", "create", "fail"},
		{"runc", "create", "die"},
		{"runc", "start", "fail"},
		{"runc", "start", "die"},
		{"conmon", "--cid", "fail"},
		{"conmon", "--cid", "die"},
	} {
		t.orderProgram(fault.name, fault.command, fault.order)
		t.awaitFailure(t.create(api.RestartAlways))
		t.orderProgram(fault.name, fault.command, "")
		t.inject("calls of "+fault.name+" that fail", 1)
	}
	// Without runc's word for it a container goes all the same.
	for _, order := range []string{"fail", "die"} {
		t.orderProgram("runc", "delete", order)
		t.delete(t.running())
		t.settle()
		t.orderProgram("runc", "delete", "")
		t.inject("calls of runc that fail", 1)
	}
	// An agent that cannot see what is there begins nothing.
	t.killAgent()
	t.orderProgram("runc", "list", "fail")
	t.startAgent()
	if sig := t.agentEnded(); sig != 0 {
		t.Errorf("the agent ended by signal %v", sig)
	}
	t.orderProgram("runc", "list", "")
	t.inject("calls of runc that fail", 1)
}

// stepsFail lets the agent's own steps fail, each once.
func stepsFail(t *trial) {
	for _, step := range []string{"Images.Localize", "Rootfs.Mount", "Bundles.Prepare", "Runtime.Create", "Runtime.Start", "Runtime.Wait"} {
		t.order("steps that fail", "before "+step, "made to fail by a test")
		t.create(api.RestartAlways)
		t.awaitCarriedOut("before " + step)
	}
	t.settle()
	for _, step := range []string{"Runtime.Delete", "Rootfs.Unmount", "Bundles.Remove", "Logs.RemoveLogs"} {
		t.order("steps that fail", "before "+step, "made to fail by a test")
		t.delete(t.running())
		t.awaitCarriedOut("before " + step)
	}
}

// running is a worker that runs, once all have come to rest. One that has ended has no
// container any more.
func (t *trial) running() *worker {
	t.Helper()
	i := slices.IndexFunc(t.present, func(w *worker) bool { return goalOf(w).reason == api.ReasonRunning })
	if i < 0 {
		t.Fatal("no worker runs")
	}
	return t.present[i]
}

func (t *trial) awaitCarriedOut(point string) {
	t.Helper()
	t.await(point, func(context.Context) []string {
		if t.stack.Ordered(point) {
			return []string{"not reached"}
		}
		return nil
	})
}

// hang lets each of the programs and a mount hang under a worker of its own.
func (t *trial) hang() {
	t.Helper()
	for _, fault := range []struct{ name, command string }{{"runc", "create"}, {"runc", "start"}, {"conmon", "--cid"}} {
		t.orderProgram(fault.name, fault.command, "hang")
		t.create(api.RestartAlways)
		t.await(fault.name, func(context.Context) []string {
			if !t.stack.Hangs(fault.name) {
				return []string{"it does not hang yet"}
			}
			return nil
		})
		t.orderProgram(fault.name, fault.command, "")
		t.inject("calls of "+fault.name+" that hang", 1)
	}
	t.order("mounts that hang", "before Rootfs.Mount", "hang")
	t.create(api.RestartAlways)
	t.awaitCarriedOut("before Rootfs.Mount")
}

// programsHang kills the agent while programs and a mount hang under it.
func programsHang(t *trial) {
	t.hang()
	t.killAgent()
	t.inject("kills of the agent while programs hang", 1)
}

// apiAway takes the API server away for a minute. Programs hang meanwhile until
// the agent's patience ends, which is a minute too, workers end, and the agent
// is killed and started.
func apiAway(t *trial) {
	ends := t.create(api.RestartNever)
	t.settle()
	t.hang()
	t.create(api.RestartAlways, 3)
	t.must(t.stack.PauseAPI())
	t.inject("minutes without the API server", 1)
	t.end(ends)
	<-time.After(time.Minute)
	t.killAgent()
	t.startAgent()
	t.must(t.stack.ResumeAPI())
}
