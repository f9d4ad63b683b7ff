//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/suite"
)

func shell(script string) []string { return suite.Shell(script) }

const forever = suite.Forever

func aWorker(name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	return suite.Worker(namespace, name, change...)
}

// apply creates a worker, which emptyNamespace deletes.
func apply(t *testing.T, w *api.StormWorker) *api.StormWorker {
	t.Helper()
	if err := cluster.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return w
}

func remove(t *testing.T, w *api.StormWorker) { t.Helper(); suite.Remove(t, cluster, w) }

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

func waitFor(t *testing.T, w *api.StormWorker, reason string) metav1.Condition {
	t.Helper()
	return suite.WaitFor(t, cluster, w, reason)
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
