package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/client/clientset/versioned"
	"github.com/stormcell/stormcell/client/informers/externalversions"
)

// watcher knows the workers of one topology, by their names.
type watcher struct {
	workers map[string]*api.StormWorker
	changes chan change
	out     io.Writer
}

// change is a worker as it is now, or as it last was.
type change struct {
	worker *api.StormWorker
	gone   bool
}

// watch begins to watch the workers of a topology, until ctx ends. It waits, as
// long as patience, until it knows those that there are.
func watch(ctx context.Context, clients versioned.Interface, namespace, topologyID string, patience time.Duration, out io.Writer) (*watcher, error) {
	w := &watcher{workers: map[string]*api.StormWorker{}, changes: make(chan change), out: out}
	factory := externalversions.NewSharedInformerFactoryWithOptions(clients, 0, externalversions.WithNamespace(namespace),
		externalversions.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = ofTopology(topologyID).FieldSelector }))
	informer := factory.Stormcell().V1alpha1().StormWorkers().Informer()
	tell := func(object any, gone bool) {
		if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		if worker, ok := object.(*api.StormWorker); ok {
			select {
			case w.changes <- change{worker, gone}:
			case <-ctx.Done():
			}
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell(object, false) },
		UpdateFunc: func(_, object any) { tell(object, false) },
		DeleteFunc: func(object any) { tell(object, true) },
	}); err != nil {
		return nil, fmt.Errorf("watch workers: %w", err)
	}
	factory.Start(ctx.Done())
	// Of what is deleted from now on, the informer tells.
	starting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if !cache.WaitForCacheSync(starting.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("list workers for %s: %w; what was printed before says why", patience, starting.Err())
	}
	fmt.Fprintf(out, row, "TIME", "WORKER", "NODE", "STATUS", "MESSAGE")
	return w, nil
}

// ofTopology selects the workers of a topology.
func ofTopology(id string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.topologyID", id).String()}
}

// until takes in changes, and shows them, until done says true or ctx ends.
func (w *watcher) until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case c := <-w.changes:
			w.take(c)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

const row = "%-9s %-28s %-16s %-18s %s\n"

// take takes in a change, and shows it if it is one in what is shown.
func (w *watcher) take(c change) {
	name := c.worker.Name
	before := state(w.workers[name])
	if c.gone {
		delete(w.workers, name)
	} else {
		w.workers[name] = c.worker
	}
	if after := state(w.workers[name]); after != before {
		fmt.Fprintf(w.out, row, time.Now().Format(time.TimeOnly), name, c.worker.Status.NodeName, after.status, after.message)
	}
}

type shown struct{ node, status, message string }

// state is what is shown of a worker; nil is one that is gone.
func state(w *api.StormWorker) shown {
	if w == nil {
		return shown{status: "Gone"}
	}
	s := shown{node: w.Status.NodeName, status: "New"}
	if ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); ready != nil {
		s.status, s.message = ready.Reason, ready.Message
	}
	return s
}
