//go:build faults

package faults

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/census"
	"github.com/stormcell/stormcell/test/stack"
)

const (
	// patience is how long workers may take to come to rest. The pauses of the
	// restart back-off are in it, and the limit on a program that hangs.
	patience = 100 * time.Second
	interval = 25 * time.Millisecond
	// cleaning is the time that is left for taking everything down.
	cleaning = 30 * time.Second
)

// trial is a stack with the workers that shall be there, and the account of
// what was done to it and found.
type trial struct {
	*testing.T
	stack   *stack.Stack
	random  *rand.Rand
	started time.Time // the agent, last
	ended   bool      // the agent does not run
	workers int       // made so far
	present []*worker
	gone    []*worker // deleted ones, whose objects may last

	faults   map[string]int // injected, by kind
	findings map[string]int // counted, by kind
}

func (t *trial) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create asks the cluster for a worker whose runs end with the codes, one after
// the other, and then stay.
func (t *trial) create(policy api.RestartPolicy, codes ...int) *worker {
	t.Helper()
	return t.apply(t.newWorker(obedient, policy, codes))
}

// apply asks the cluster for a worker.
func (t *trial) apply(w *worker) *worker {
	t.Helper()
	t.must(t.stack.Client.Create(t.Context(), w.StormWorker))
	t.present = append(t.present, w)
	return w
}

// delete asks the cluster to let a worker go.
func (t *trial) delete(w *worker) {
	t.Helper()
	t.must(t.stack.Client.Delete(t.Context(), w.StormWorker))
	t.present = slices.DeleteFunc(t.present, func(o *worker) bool { return o == w })
	t.gone = append(t.gone, w)
}

// startAgent starts the agent, unless it runs.
func (t *trial) startAgent() {
	t.Helper()
	if t.ended {
		t.started, t.ended = time.Now(), false
	}
	t.must(t.stack.StartAgent())
}

// awaitAgent starts the agent, unless it runs, and waits until it has taken over
// what is there.
func (t *trial) awaitAgent() {
	t.Helper()
	t.startAgent()
	t.must(t.stack.AwaitAgent(t.Context(), t.started))
}

// killAgent is a crash.
func (t *trial) killAgent() {
	t.Helper()
	t.must(t.stack.StopAgent(syscall.SIGKILL))
	t.ended = true
}

// agentEnded waits for the end of an agent that an order ends, and returns the
// signal that it ended by.
func (t *trial) agentEnded() syscall.Signal {
	t.Helper()
	ctx, cancel := t.patient()
	defer cancel()
	sig, err := t.stack.AgentEnded(ctx)
	t.must(err)
	t.ended = true
	return sig
}

// awaitStart waits until a worker's process has begun its work.
func (t *trial) awaitStart(w *worker) {
	t.Helper()
	t.awaitReason(w, api.ReasonRunning)
	t.await(w.Name, func(context.Context) []string {
		if t.accountOf(w).starts == 0 {
			return []string{"it has not written that it was started"}
		}
		return nil
	})
}

// inject counts a fault.
func (t *trial) inject(kind string, n int) { t.faults[kind] += n }

// order has the agent do something at a point, once, and counts it.
func (t *trial) order(kind, point, order string) {
	t.Helper()
	t.must(t.stack.Order(point, order))
	t.inject(kind, 1)
}

// await waits until there is nothing to say any more.
func (t *trial) await(what string, problems func(context.Context) []string) {
	t.Helper()
	if left := t.attempt(problems); len(left) > 0 {
		t.Fatalf("%s: after %v still:\n  %s", what, patience, strings.Join(left, "\n  "))
	}
}

// attempt asks for problems until there are none, or patience is over: then it
// returns the last ones.
func (t *trial) attempt(problems func(context.Context) []string) []string {
	ctx, cancel := t.patient()
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var left []string
	for {
		now := problems(ctx)
		if len(now) == 0 {
			return nil
		}
		if ctx.Err() == nil || left == nil { // later ones only tell of that
			left = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left
		}
	}
}

// patient is the context of a wait. It ends early enough for the test to clean
// up after itself.
func (t *trial) patient() (context.Context, context.CancelFunc) {
	end := time.Now().Add(patience)
	if last, ok := t.Deadline(); ok && last.Add(-cleaning).Before(end) {
		end = last.Add(-cleaning)
	}
	return context.WithDeadline(t.Context(), end)
}

// awaitReason waits until Ready of a worker has a reason.
func (t *trial) awaitReason(w *worker, reason string) {
	t.Helper()
	t.await(w.Name, func(ctx context.Context) []string { return t.notYet(ctx, w, reason) })
}

func (t *trial) notYet(ctx context.Context, w *worker, reason string) []string {
	if err := t.stack.Client.Get(ctx, client.ObjectKeyFromObject(w.StormWorker), w.StormWorker); err != nil {
		return []string{err.Error()}
	}
	c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
	switch {
	case c == nil:
		return []string{fmt.Sprintf("%s is nothing yet, want %s", w.Name, reason)}
	case c.Reason != reason:
		return []string{fmt.Sprintf("%s is %s (%s), want %s", w.Name, c.Reason, c.Message, reason)}
	}
	return nil
}

// settle waits until every worker is what its spec says and what its process
// has written down, and the node has what those that run need, and no more.
func (t *trial) settle() {
	t.Helper()
	begun := time.Now()
	t.awaitAgent()
	var deviations, missed []string
	left := t.attempt(func(ctx context.Context) []string {
		left := t.unsettled(ctx)
		deviations, missed = nil, nil
		if len(left) == 0 {
			deviations, missed = t.deviations(ctx), t.missed()
		}
		return slices.Concat(left, deviations, missed)
	})
	for _, d := range deviations {
		t.findings[kindOf(d)]++
	}
	t.findings["missed"] += len(missed)
	for _, w := range slices.Concat(t.present, t.gone) {
		if n := t.accountOf(w).doubled; n > 0 {
			t.findings["doubled"]++
			left = append(left, fmt.Sprintf("%s ran twice at once, %d times", w.Name, n))
		}
	}
	t.gone = nil
	if len(left) > 0 {
		t.Fatalf("not settled after %v:\n  %s", time.Since(begun).Round(time.Second), strings.Join(left, "\n  "))
	}
	t.Logf("settled in %v: %d workers", time.Since(begun).Round(time.Millisecond), len(t.present))
}

// unsettled lists the workers that are not where they shall come to rest.
func (t *trial) unsettled(ctx context.Context) (left []string) {
	for _, w := range t.present {
		left = append(left, t.notYet(ctx, w, goalOf(w).reason)...)
	}
	for _, w := range t.gone {
		err := t.stack.Client.Get(ctx, client.ObjectKeyFromObject(w.StormWorker), w.DeepCopy())
		if !errors.IsNotFound(err) {
			left = append(left, fmt.Sprintf("%s is not gone (%v)", w.Name, err))
		}
	}
	return left
}

// deviations compares the node with the workers that have come to rest.
func (t *trial) deviations(ctx context.Context) []string {
	var running, ended []*api.StormWorker
	for _, w := range t.present {
		if goalOf(w).reason == api.ReasonRunning {
			running = append(running, w.StormWorker)
		} else {
			ended = append(ended, w.StormWorker)
		}
	}
	found, err := t.stack.Deviations(ctx, running, ended)
	if err != nil {
		return []string{err.Error()}
	}
	return found
}

func kindOf(deviation string) string {
	for _, kind := range census.Kinds {
		if strings.HasPrefix(deviation, kind+" ") {
			return kind
		}
	}
	return "other"
}

// clear deletes every worker, and settles.
func (t *trial) clear() {
	t.Helper()
	for _, w := range slices.Clone(t.present) {
		t.delete(w)
	}
	t.settle()
}

// report tells what was done and what was found.
func (t *trial) report() {
	fmt.Fprintln(os.Stderr, "faults injected:")
	for _, kind := range slices.Sorted(maps.Keys(t.faults)) {
		fmt.Fprintf(os.Stderr, "  %-44s %4d\n", kind, t.faults[kind])
	}
	fmt.Fprintf(os.Stderr, "counted, of %d workers:\n", t.workers)
	for _, row := range []struct{ text, kind string }{
		{"mounts too many or missing", "mount"},
		{"loop devices too many or missing", "loop device"},
		{"cgroups too many or missing", "cgroup"},
		{"processes too many or missing", "process"},
		{"directories too many or missing", "directory"},
		{"workers that ran twice at once", "doubled"},
		{"starts and exits that status missed", "missed"},
	} {
		fmt.Fprintf(os.Stderr, "  %-44s %4d\n", row.text, t.findings[row.kind])
	}
}
