//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

const probeName = "probe"

// probes are the pods that look at their nodes, by the node's name.
var (
	probes map[string]string
	remote klient.Client
)

// startProbes runs test/e2e/probe on every node.
func startProbes(ctx context.Context, conf *envconf.Config) (context.Context, error) {
	labels := map[string]string{"app": probeName}
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: probeName},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostPID:                       true,
					AutomountServiceAccountToken:  new(false),
					TerminationGracePeriodSeconds: new(int64(1)),
					Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Containers: []corev1.Container{{
						Name: probeName, Image: *probeImage, Args: []string{"idle"},
						ImagePullPolicy: corev1.PullIfNotPresent,
						SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
					}},
				},
			},
		},
	}
	if err := cluster.Create(ctx, set); err != nil {
		return ctx, err
	}
	remote = conf.Client()
	return ctx, await(ctx, "a probe on every node", func() (bool, error) {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(set), set); err != nil {
			return false, err
		}
		wanted, ready := set.Status.DesiredNumberScheduled, set.Status.NumberReady
		if wanted == 0 || ready < wanted {
			return false, fmt.Errorf("%d of %d are ready", ready, wanted)
		}
		return true, findProbes(ctx, labels)
	})
}

func findProbes(ctx context.Context, labels map[string]string) error {
	var pods corev1.PodList
	if err := cluster.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		return err
	}
	probes = map[string]string{}
	for i := range pods.Items {
		probes[pods.Items[i].Spec.NodeName] = pods.Items[i].Name
	}
	return nil
}

// ask has the probe of a node answer.
func ask(ctx context.Context, node string, question ...string) (string, error) {
	var out, errs bytes.Buffer
	err := remote.Resources().ExecInPod(ctx, namespace, probes[node], probeName, append([]string{"/probe"}, question...), &out, &errs)
	if err != nil {
		return "", fmt.Errorf("probe %s on %s: %w: %s", question[0], node, err, errs.String())
	}
	return out.String(), nil
}

// onNodes lists what is of workers on all nodes.
func onNodes(ctx context.Context) ([]string, error) {
	where, err := json.Marshal(places)
	if err != nil {
		return nil, err
	}
	var all []string
	for node := range probes {
		answer, err := ask(ctx, node, "census", string(where))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(answer) {
			all = append(all, node+": "+strings.TrimSpace(line))
		}
	}
	return all, nil
}

// logOf is what the runs of a worker have printed.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	text, err := ask(t.Context(), w.Status.NodeName, "read", filepath.Join(places.LogDir, w.ContainerID(), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// processOf names the process of a worker that runs, for ever: by its pid and
// its start time.
func processOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	text, err := ask(t.Context(), w.Status.NodeName, "process", strconv.FormatInt(w.Status.PID, 10))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(w.Status.PID, " ", text)
}
