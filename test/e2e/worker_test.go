//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// shell is the command of a worker that runs a script.
func shell(script string) []string { return []string{"bash", "-c", script} }

const forever = "while :; do sleep 1; done"

var lastPort int32 = 6700

// aWorker is a worker as a user writes it, on a port of its own.
func aWorker(name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	lastPort++
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: api.StormWorkerSpec{
			TopologyID: "e2e-1-1608581491", Port: lastPort, User: "nobody", Command: shell(forever),
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
	for _, c := range change {
		c(&w.Spec)
	}
	return w
}

// apply creates a worker, which emptyNamespace deletes.
func apply(t *testing.T, w *api.StormWorker) *api.StormWorker {
	t.Helper()
	if err := cluster.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return w
}

// remove deletes a worker and waits until it is gone.
func remove(t *testing.T, w *api.StormWorker) {
	t.Helper()
	if err := cluster.Delete(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	expect(t).Eventually(func() bool {
		return errors.IsNotFound(cluster.Get(t.Context(), client.ObjectKeyFromObject(w), w))
	}).Should(BeTrue(), "the worker %s goes", w.Name)
}

// emptyNamespace deletes every worker of the suite and waits until they are gone.
func emptyNamespace(ctx context.Context, _ *envconf.Config, t *testing.T) (context.Context, error) {
	t.Helper()
	if err := cluster.DeleteAllOf(ctx, &api.StormWorker{}, client.InNamespace(namespace)); err != nil {
		return ctx, err
	}
	return ctx, await(ctx, "the end of the workers", func() (bool, error) {
		var left api.StormWorkerList
		err := cluster.List(ctx, &left, client.InNamespace(namespace))
		return err == nil && len(left.Items) == 0, err
	})
}

// refresh reads w again.
func refresh(t *testing.T, w *api.StormWorker) {
	t.Helper()
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until w is in the state that reason names.
func waitFor(t *testing.T, w *api.StormWorker, reason string) (c metav1.Condition) {
	t.Helper()
	expect(t).Eventually(func() string {
		refresh(t, w)
		if found := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); found != nil {
			c = *found
		}
		return c.Reason + ": " + c.Message
	}).Should(HavePrefix(reason+":"), "worker %s", w.Name)
	return c
}

// command runs a program, and tells what it printed when it fails.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w:\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// kubectl runs kubectl as the admin.
func kubectl(t *testing.T, args ...string) {
	t.Helper()
	if err := command(t.Context(), "kubectl", append([]string{"--kubeconfig", testenv.EnvConf().KubeconfigFile()}, args...)...); err != nil {
		t.Fatal(err)
	}
}
