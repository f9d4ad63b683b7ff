//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/yaml"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// keepArtifacts writes what explains the failure of a test below -artifacts:
// the daemons' logs, events, stormcell's objects, and what is on the nodes.
func keepArtifacts(ctx context.Context, conf *envconf.Config, t *testing.T) (context.Context, error) {
	t.Helper()
	if !t.Failed() {
		return ctx, nil
	}
	dir := filepath.Join(*artifacts, t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ctx, err
	}
	t.Logf("logs, events and objects are kept in %s", dir)
	ctx = context.WithoutCancel(ctx)
	return ctx, errors.Join(keepObjects(ctx, dir), keepLogs(ctx, conf, dir), keepCensus(ctx, dir))
}

func keepObjects(ctx context.Context, dir string) error {
	for name, list := range map[string]client.ObjectList{
		"stormworkers": &api.StormWorkerList{}, "stormimages": &api.StormImageList{}, "stormnodes": &api.StormNodeList{},
		"pods": &corev1.PodList{}, "nodes": &corev1.NodeList{}, "events": &corev1.EventList{},
	} {
		if err := cluster.List(ctx, list); err != nil {
			return fmt.Errorf("list %s: %w", name, err)
		}
		content, err := yaml.Marshal(list)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// keepLogs keeps the logs of stormcell's pods, also those of their containers before.
func keepLogs(ctx context.Context, conf *envconf.Config, dir string) error {
	clients, err := kubernetes.NewForConfig(conf.Client().RESTConfig())
	if err != nil {
		return err
	}
	pods := clients.CoreV1().Pods(api.SystemNamespace)
	var all corev1.PodList
	if err := cluster.List(ctx, &all, client.InNamespace(api.SystemNamespace)); err != nil {
		return err
	}
	for i := range all.Items {
		name := all.Items[i].Name
		for file, previous := range map[string]bool{name + ".log": false, name + ".previous.log": true} {
			content, err := pods.GetLogs(name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
			if err != nil {
				content = []byte(err.Error() + "\n") // most pods have no container before
			}
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func keepCensus(ctx context.Context, dir string) error {
	all, err := onNodes(ctx)
	if err != nil {
		all = append(all, err.Error())
	}
	var content []byte
	for _, line := range all {
		content = append(content, line+"\n"...)
	}
	return os.WriteFile(filepath.Join(dir, "nodes.txt"), content, 0o644)
}
