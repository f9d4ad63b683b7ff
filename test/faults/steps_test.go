//go:build faults

package faults

import (
	"syscall"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// The points at which the agent is killed, by what leads to them.
var (
	launchPoints = bounds("Images.Localize", "Rootfs.Mount", "Bundles.Prepare", "Runtime.Create", "Runtime.Start")
	endPoints    = append(bounds("Runtime.Delete", "Rootfs.Unmount", "Images.Release"), "after Runtime.Wait")
	removePoints = bounds("Runtime.Signal "+syscall.SIGTERM.String(), "Runtime.Delete", "Rootfs.Unmount", "Images.Release", "Bundles.Remove", "Logs.RemoveLogs")
	killPoints   = bounds("Runtime.Signal " + syscall.SIGKILL.String())
	adoptPoints  = append(bounds("Runtime.List", "Images.Hold", "Bundles.Recover", "Rootfs.Recover", "Logs.OldLogs"), "before Runtime.Wait")
	sweepPoints  = bounds("Bundles.Sweep")
)

// bounds are the moments before and after each step.
func bounds(steps ...string) (points []string) {
	for _, step := range steps {
		points = append(points, "before "+step, "after "+step)
	}
	return points
}

// stepBoundaries kills the agent once at each boundary between two steps of a
// worker's launch, end, removal and adoption.
func stepBoundaries(t *trial) {
	stays := t.create(api.RestartAlways)
	t.settle()
	for _, point := range launchPoints {
		t.dieAt(point, func() { t.create(api.RestartAlways) })
		t.delete(t.present[len(t.present)-1])
	}
	for _, point := range endPoints {
		t.dieAt(point, func() { t.create(api.RestartNever, 7) })
		t.delete(t.present[len(t.present)-1])
	}
	for _, point := range removePoints {
		w := t.create(api.RestartAlways)
		t.awaitStart(w)
		t.dieAt(point, func() { t.delete(w) })
	}
	for _, point := range killPoints {
		w := t.apply(t.newWorker(stubborn, api.RestartAlways, nil))
		t.awaitStart(w)
		t.dieAt(point, func() { t.delete(w) })
	}
	for _, point := range adoptPoints {
		t.killAgent()
		t.dieAt(point, t.startAgent)
	}
	for _, point := range sweepPoints {
		w := t.create(api.RestartAlways)
		t.awaitStart(w)
		t.killAgent()
		t.removeAll("run", "workers", w.ContainerID(), "record.json")
		w.unseen, w.unseenLast = w.unseen+1, true
		t.dieAt(point, t.startAgent)
		t.delete(w)
	}
	t.awaitReason(stays, api.ReasonRunning)
}

// dieAt kills the agent at a point that an act leads to, and starts the next.
func (t *trial) dieAt(point string, act func()) {
	t.Helper()
	t.order("kills of the agent at a step's boundary", point, "kill")
	act()
	if sig := t.agentEnded(); sig != syscall.SIGKILL {
		t.Fatalf("%s: the agent ended by signal %v, want SIGKILL", point, sig)
	}
	if t.stack.Ordered(point) {
		t.Fatalf("%s was not reached", point)
	}
	t.settle()
}
