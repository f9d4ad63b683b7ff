package engine

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// TestRecordHasNoCommand: nor the environment. The next agent runs the worker again by
// what the cluster says of it.
func TestRecordHasNoCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a", func(w *worker.Spec) {
			w.Command = []string{"java", strings.Repeat("long", 1000)}
			w.Env = []worker.EnvVar{{Name: "A", Value: strings.Repeat("long", 1000)}}
		})
		a := n.begin()
		a.Ensure(w, Past{})
		a.phase(t, "a", Running)
		text, err := os.ReadFile(a.records.path(w.ContainerID()))
		if err != nil || strings.Contains(string(text), "long") {
			t.Errorf("the record: %v: %s", err, text)
		}
		a.end()

		next := n.begin()
		defer next.end()
		next.phase(t, "a", Running)
		n.exit(w.ContainerID(), 1)
		next.phase(t, "a", BackOff)
		n.prepared = worker.Spec{}
		next.Ensure(w, Past{})
		time.Sleep(backOffMax)
		next.phase(t, "a", Running)
		if d := cmp.Diff(w, n.prepared); d != "" {
			t.Errorf("it was started again by another spec: %s", d)
		}
	})
}
