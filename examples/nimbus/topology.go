package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	apply "github.com/stormcell/stormcell/client/applyconfiguration/api/v1alpha1"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
)

// fieldManager owns what is applied here. Every Nimbus of a cluster has the same
// name, so that one takes over from another.
const fieldManager = "nimbus"

// topology is a number of workers that run the same.
type topology struct {
	client    stormcell.StormWorkerInterface
	namespace string
	id        string
	workers   int32
	port      int32
	user      string
	image     string
	command   []string
}

// runUntil starts the workers and lets them run until ctx ends. It is an error
// if they do not all run in time.
func (t *topology) runUntil(ctx context.Context, w *watcher, patience time.Duration) error {
	for i := range t.workers {
		worker, err := t.start(ctx, t.port+i)
		if err != nil {
			return err
		}
		w.workers[worker.Name] = worker
	}
	starting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := w.until(starting, func() bool { return len(notRunning(w.workers)) == 0 }); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("not all run after %s:\n%s", patience, strings.Join(notRunning(w.workers), "\n"))
	}
	fmt.Fprintf(w.out, "all %d workers run; interrupt to delete them\n", t.workers)
	_ = w.until(ctx, func() bool { return false })
	return nil
}

// start makes the worker on a port, if there is none. Its name follows from what
// it is, so that starting it again, also after a crash, makes no second.
func (t *topology) start(ctx context.Context, port int32) (*api.StormWorker, error) {
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(strings.ToLower(t.id), "_", "-"), port)
	spec := apply.StormWorkerSpec().WithTopologyID(t.id).WithPort(port).WithUser(t.user).WithCommand(t.command...)
	if t.image != "" {
		spec.WithImage(t.image)
	}
	worker, err := t.client.Apply(ctx, apply.StormWorker(name, t.namespace).WithSpec(spec), metav1.ApplyOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		// To try again is of no use until somebody changes grants or the worker.
		return nil, fmt.Errorf("refused: %w", err)
	case apierrors.IsConflict(err):
		return nil, fmt.Errorf("somebody else writes worker %s, too: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	case worker.DeletionTimestamp != nil:
		return nil, fmt.Errorf("worker %s is still being deleted: start it again when it is gone", name)
	}
	return worker, nil
}

// remove deletes all of the topology's workers and waits until nothing is left
// of them on any node.
func (t *topology) remove(ctx context.Context, w *watcher, patience time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := t.client.DeleteCollection(ctx, metav1.DeleteOptions{}, ofTopology(t.id)); err != nil {
		return fmt.Errorf("delete the workers of %s: %w", t.id, err)
	}
	left, err := t.client.List(ctx, ofTopology(t.id))
	if err != nil {
		return fmt.Errorf("list the workers of %s: %w", t.id, err)
	}
	for _, worker := range left.Items {
		if w.workers[worker.Name] == nil {
			w.workers[worker.Name] = &worker
		}
	}
	if err := w.until(ctx, func() bool { return len(w.workers) == 0 }); err != nil {
		names := slices.Sorted(maps.Keys(w.workers))
		return fmt.Errorf("after %s there still are %s: %w", patience, strings.Join(names, ", "), err)
	}
	fmt.Fprintln(w.out, "all are gone")
	return nil
}

// notRunning says of each worker that does not run why.
func notRunning(workers map[string]*api.StormWorker) []string {
	var whys []string
	for _, name := range slices.Sorted(maps.Keys(workers)) {
		switch ready := meta.FindStatusCondition(workers[name].Status.Conditions, api.WorkerReady); {
		case ready == nil:
			whys = append(whys, name+": nobody has taken it up: does the manager run?")
		case ready.Status != metav1.ConditionTrue:
			whys = append(whys, fmt.Sprintf("%s: %s: %s", name, ready.Reason, ready.Message))
		}
	}
	return whys
}
