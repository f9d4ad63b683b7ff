// Package suite is what suites of tests that run workers share: it makes workers
// as users write them, and waits for what becomes of them.
package suite

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Patience is how long a test waits for what must come.
const Patience = 2 * time.Minute

// Expect is gomega for t, with that patience.
func Expect(t *testing.T) *gomega.WithT {
	t.Helper()
	g := gomega.NewWithT(t)
	g.SetDefaultEventuallyTimeout(Patience)
	g.SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	return g
}

// Shell is the command of a worker that runs a script.
func Shell(script string) []string { return []string{"bash", "-c", script} }

// Forever is a script that does not end.
const Forever = "while :; do sleep 1; done"

var lastPort atomic.Int32

const firstPort = 6701

// Worker is a worker as a user writes it, on a port of its own.
func Worker(namespace, name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: api.StormWorkerSpec{
			TopologyID: "it-1-1608581491", Port: firstPort - 1 + lastPort.Add(1), User: "nobody", Command: Shell(Forever),
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
	for _, c := range change {
		c(&w.Spec)
	}
	return w
}

// Remove deletes a worker and waits until it is gone.
func Remove(t *testing.T, c client.Client, w *api.StormWorker) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.IgnoreNotFound(c.Delete(ctx, w)); err != nil {
		t.Error(err)
	}
	Expect(t).Eventually(func() bool {
		return errors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(w), w))
	}).Should(gomega.BeTrue(), "the worker %s goes", w.Name)
}

// Ready returns why w is ready or not, and reads it anew.
func Ready(t *testing.T, c client.Client, w *api.StormWorker) metav1.Condition {
	t.Helper()
	if err := c.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// WaitFor waits until w is in the state that reason names.
func WaitFor(t *testing.T, c client.Client, w *api.StormWorker, reason string) (said metav1.Condition) {
	t.Helper()
	Expect(t).Eventually(func() string {
		said = Ready(t, c, w)
		return said.Reason + ": " + said.Message
	}).Should(gomega.HavePrefix(reason+":"), "worker %s", w.Name)
	return said
}

// Tail prints the end of a log.
func Tail(path string) {
	const most = 8 << 10
	log, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Fprintf(os.Stderr, "--- the end of %s\n%s\n", path, log[max(0, len(log)-most):])
}
