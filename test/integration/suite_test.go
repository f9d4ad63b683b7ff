// Package integration runs stormcell whole on this machine, with real parts only, and
// looks at what a user sees and at what the kernel says.
package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

var s *stack.Stack

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the node-agent needs root, so run this as root")
		return 0
	}
	var err error
	if s, err = stack.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err := s.StartAgent(); err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	if code != 0 {
		tail("manager.log")
		tail("node-agent.log")
	}
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// tail prints the end of a daemon's log.
func tail(name string) {
	const most = 8 << 10
	log, err := os.ReadFile(s.Path(name))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Fprintf(os.Stderr, "--- the end of %s\n%s\n", name, log[max(0, len(log)-most):])
}

// patience is how long a test waits for what must come.
const patience = time.Minute

func expect(t *testing.T) *WithT {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	return g
}

// shell is the command of a worker that runs a script.
func shell(script string) []string { return []string{"bash", "-c", script} }

const forever = "while :; do sleep 1; done"

var lastPort int32 = 6700

// aWorker is a worker as a user writes it, on a port of its own.
func aWorker(name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	lastPort++
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: api.StormWorkerSpec{
			TopologyID: "it-1-1608581491", Port: lastPort, User: "nobody", Command: shell(forever),
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
	for _, c := range change {
		c(&w.Spec)
	}
	return w
}

// apply creates a worker that is deleted at the end of the test.
func apply(t *testing.T, w *api.StormWorker) *api.StormWorker {
	t.Helper()
	if err := s.Client.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, w) })
	return w
}

// remove deletes a worker and waits until it is gone.
func remove(t *testing.T, w *api.StormWorker) {
	t.Helper()
	ctx := context.Background()
	if err := client.IgnoreNotFound(s.Client.Delete(ctx, w)); err != nil {
		t.Error(err)
	}
	expect(t).Eventually(func() bool {
		return errors.IsNotFound(s.Client.Get(ctx, client.ObjectKeyFromObject(w), w))
	}).Should(BeTrue(), "the worker goes")
}

// ready returns why w is ready or not.
func ready(t *testing.T, w *api.StormWorker) metav1.Condition {
	t.Helper()
	if err := s.Client.Get(context.Background(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// waitFor waits until w is in the state that reason names.
func waitFor(t *testing.T, w *api.StormWorker, reason string) metav1.Condition {
	t.Helper()
	var c metav1.Condition
	expect(t).Eventually(func() string { c = ready(t, w); return c.Reason + ": " + c.Message }).Should(HavePrefix(reason+":"), "worker %s", w.Name)
	return c
}

// logOf returns what a worker's runs have printed.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	files, err := filepath.Glob(s.Path("log", w.ContainerID(), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

func processRuns(pid int64) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
