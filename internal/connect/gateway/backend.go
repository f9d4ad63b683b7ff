package gateway

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/message"
)

// parallelNodes is how many agents are asked side by side for one list.
const parallelNodes = 32

// backend implements connect.Backend by asking the agents of the nodes.
type backend struct {
	objects    client.Reader
	tokens     *tokens
	transports *transports
}

// Log implements connect.Backend.
func (b *backend) Log(ctx context.Context, w types.NamespacedName, o connectv1.LogOptions) (io.ReadCloser, error) {
	a, err := b.agentOfWorker(ctx, w)
	if err != nil {
		return nil, err
	}
	return a.get(ctx, connect.LogPath(w), o.Query())
}

// Stats implements connect.Backend.
func (b *backend) Stats(ctx context.Context, w types.NamespacedName) (*connectv1.StormWorkerStats, error) {
	a, err := b.agentOfWorker(ctx, w)
	if err != nil {
		return nil, err
	}
	stats := new(connectv1.StormWorkerStats)
	if err := a.read(ctx, connect.StatsPath(w), stats); err != nil {
		return nil, err
	}
	named(stats, w)
	return stats, nil
}

// named keeps of what an agent tells of the object only what it was asked for.
func named(stats *connectv1.StormWorkerStats, w types.NamespacedName) {
	stats.ObjectMeta = metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}
}

func (b *backend) agentOfWorker(ctx context.Context, name types.NamespacedName) (*agent, error) {
	w := new(api.StormWorker)
	if err := b.objects.Get(ctx, name, w); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, apierrors.NewNotFound(connectv1.GroupVersion.WithResource(connectv1.ResourceWorkers).GroupResource(), name.Name)
		}
		return nil, fmt.Errorf("get StormWorker %s: %w", name, err)
	}
	if w.Status.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("worker %s has no node yet: %s; \"kubectl describe stormworker %s\" shows more", w.Name, readyOf(w), w.Name))
	}
	return b.agent(ctx, w.Status.NodeName)
}

// readyOf is why a worker is not ready.
func readyOf(w *api.StormWorker) string {
	c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
	if c == nil {
		return "the manager has not processed it"
	}
	return c.Reason + ", " + message.Truncate(c.Message, maxMessage)
}

// agent finds the agent of a node.
func (b *backend) agent(ctx context.Context, name string) (*agent, error) {
	node, stormNode := new(corev1.Node), new(api.StormNode)
	for _, o := range []client.Object{node, stormNode} {
		err := b.objects.Get(ctx, types.NamespacedName{Name: name}, o)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get %T %s: %w", o, name, err)
		}
	}
	if node.Name == "" {
		return nil, unavailable(name, "the Node no longer exists", "if the worker's object is not removed with it, delete it")
	}
	at, err := targetOf(node, stormNode)
	if err != nil {
		return nil, err
	}
	token, err := b.tokens.token(ctx, name)
	if err != nil {
		return nil, err
	}
	return &agent{target: at, token: token, by: b.transports.to(at)}, nil
}

// ListStats implements connect.Backend. It asks each node on which a worker of
// the namespace runs; nodes that do not answer are named.
func (b *backend) ListStats(ctx context.Context, namespace string) (*connectv1.StormWorkerStatsList, error) {
	workers := new(api.StormWorkerList)
	if err := b.objects.List(ctx, workers, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list StormWorkers of namespace %s: %w", namespace, err)
	}
	list := &connectv1.StormWorkerStatsList{Items: []connectv1.StormWorkerStats{}}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(parallelNodes)
	for node, running := range runningByNode(workers.Items) {
		group.Go(func() error {
			found, err := b.statsOfNode(ctx, node, namespace, running)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				list.Unreachable = append(list.Unreachable, connectv1.UnreachableNode{Node: node, Message: err.Error()})
			}
			list.Items = append(list.Items, found...)
			return nil
		})
	}
	_ = group.Wait() // it has no errors but those of nodes
	slices.SortFunc(list.Items, func(a, b connectv1.StormWorkerStats) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(list.Unreachable, func(a, b connectv1.UnreachableNode) int { return cmp.Compare(a.Node, b.Node) })
	return list, ctx.Err()
}

// runningByNode has, for each node, the names of the workers that run there.
func runningByNode(workers []api.StormWorker) map[string]map[string]bool {
	byNode := map[string]map[string]bool{}
	for i := range workers {
		w := &workers[i]
		if w.Status.NodeName == "" || !meta.IsStatusConditionTrue(w.Status.Conditions, api.WorkerRunning) {
			continue
		}
		if byNode[w.Status.NodeName] == nil {
			byNode[w.Status.NodeName] = map[string]bool{}
		}
		byNode[w.Status.NodeName][w.Name] = true
	}
	return byNode
}

// statsOfNode asks the agent of one node. What that tells of workers which are
// not its own counts for nothing.
func (b *backend) statsOfNode(ctx context.Context, node, namespace string, running map[string]bool) ([]connectv1.StormWorkerStats, error) {
	a, err := b.agent(ctx, node)
	if err != nil {
		return nil, err
	}
	told := new(connectv1.StormWorkerStatsList)
	if err := a.read(ctx, connect.ListStatsPath(namespace), told); err != nil {
		return nil, err
	}
	var found []connectv1.StormWorkerStats
	for _, s := range told.Items {
		if running[s.Name] {
			delete(running, s.Name) // nor does it count twice
			named(&s, types.NamespacedName{Namespace: namespace, Name: s.Name})
			found = append(found, s)
		}
	}
	return found, nil
}
