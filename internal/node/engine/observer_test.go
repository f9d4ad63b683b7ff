package engine

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// notes is an Observer that writes down what it is told.
type notes struct {
	mu    sync.Mutex
	taken []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = append(n.taken, s)
}

func (n *notes) StepDone(s Step, _ time.Duration) { n.add("done " + string(s)) }
func (n *notes) Ended(e runtime.Exit)             { n.add("ended " + strconv.Itoa(e.Code)) }
func (n *notes) LaunchDone(err error) {
	if failed, ok := errors.AsType[*StepError](err); ok {
		n.add("failed " + string(failed.Step))
		return
	}
	n.add("launched")
}

// TestObserver: what fails, what runs and what ends by itself is told once; what
// was given up or stopped is not.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, told := newNode(t), new(notes)
		n.observer = told
		a := n.begin()
		defer a.end()
		w := aWorker("a")
		n.setFailure("prepare", errors.New("trouble"))
		a.Ensure(w, Past{})
		a.phase(t, "a", BackOff)
		n.setFailure("prepare", nil)
		time.Sleep(10 * time.Second)
		a.phase(t, "a", Running)
		n.exit(w.ContainerID(), 3)
		a.phase(t, "a", BackOff)
		a.Remove("a")
		a.phase(t, "a", Removed)

		begun := []string{"done record", "done localize", "done mount"}
		want := slices.Concat(begun, []string{"failed prepare"}, begun, []string{"done prepare", "done create", "done start", "launched", "ended 3"})
		if d := cmp.Diff(want, told.taken); d != "" {
			t.Error(d)
		}
	})
}
