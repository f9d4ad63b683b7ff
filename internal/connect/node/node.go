// Package node is the node-agent's side of connect: it answers for the workers
// of its own node.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// The manager's tokens and its rights are looked up at the API server.
//
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Engine is what is needed of an engine.Engine.
type Engine interface {
	States() []engine.State
	// OpenLog opens the log of a worker; runtime.ErrNoLog if there is none.
	// Reads of a log that is followed block until there is more, or ctx ends.
	OpenLog(ctx context.Context, uid string, o runtime.LogOptions) (io.ReadCloser, error)
}

// Backend implements connect.Backend for one node.
type Backend struct {
	// Node is the name of this node.
	Node   string
	Engine Engine
	// Usage reads what the kernel counts of a worker's cgroup.
	// runtime.ErrNotFound or fs.ErrNotExist if it does not run.
	Usage func(ctx context.Context, uid string) (cgroup.Usage, error)
}

// find returns the state of a worker of this node: of two of one name, that
// which is not on its way out.
func (b *Backend) find(w types.NamespacedName) (engine.State, error) {
	var found *engine.State
	for _, s := range b.Engine.States() {
		if s.Namespace != w.Namespace || s.Name != w.Name || s.Phase == engine.Removed {
			continue
		}
		if found == nil || found.Phase == engine.Stopping {
			found = &s
		}
	}
	if found == nil {
		return engine.State{}, apierrors.NewNotFound(resource, w.Name)
	}
	return *found, nil
}

var resource = connectv1.GroupVersion.WithResource(connectv1.ResourceWorkers).GroupResource()

// Log implements connect.Backend.
func (b *Backend) Log(ctx context.Context, w types.NamespacedName, o connectv1.LogOptions) (io.ReadCloser, error) {
	s, err := b.find(w)
	if err != nil {
		return nil, err
	}
	log, err := b.Engine.OpenLog(ctx, s.UID, runtime.LogOptions(o))
	switch {
	case errors.Is(err, runtime.ErrNoLog) && o.Previous:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("worker %s has no earlier attempt whose log is kept", w.Name))
	case errors.Is(err, runtime.ErrNoLog):
		return nil, apierrors.NewBadRequest(fmt.Sprintf("worker %s has not started yet on node %s, it is %s; \"kubectl describe stormworker %s\" shows why", w.Name, b.Node, s.Phase, w.Name))
	case err != nil:
		return nil, fmt.Errorf("log of worker %s on node %s: %w", w, b.Node, err)
	}
	return log, nil
}

// Stats implements connect.Backend.
func (b *Backend) Stats(ctx context.Context, w types.NamespacedName) (*connectv1.StormWorkerStats, error) {
	s, err := b.find(w)
	if err != nil {
		return nil, err
	}
	stats, err := b.read(ctx, s)
	if gone(err) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("worker %s does not run on node %s, it is %s", w.Name, b.Node, s.Phase))
	}
	return stats, err
}

// ListStats implements connect.Backend. Workers that end meanwhile are left out.
func (b *Backend) ListStats(ctx context.Context, namespace string) (*connectv1.StormWorkerStatsList, error) {
	list := &connectv1.StormWorkerStatsList{Items: []connectv1.StormWorkerStats{}}
	for _, s := range b.Engine.States() {
		if s.Namespace != namespace {
			continue
		}
		stats, err := b.read(ctx, s)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *stats)
	}
	slices.SortFunc(list.Items, func(a, b connectv1.StormWorkerStats) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// gone tells whether an error is that a container does not run (any more).
func gone(err error) bool {
	return errors.Is(err, runtime.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

func (b *Backend) read(ctx context.Context, s engine.State) (*connectv1.StormWorkerStats, error) {
	usage, err := b.Usage(ctx, s.UID)
	if err != nil {
		return nil, fmt.Errorf("use of worker %s/%s: %w", s.Namespace, s.Name, err)
	}
	return statsOf(s, usage, time.Now()), nil
}

// statsOf is what the kernel counts, in the API's words. What it does not count
// on this machine is 0.
func statsOf(s engine.State, u cgroup.Usage, now time.Time) *connectv1.StormWorkerStats {
	stats := &connectv1.StormWorkerStats{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		Time:        metav1.NewMicroTime(now),
		ContainerID: s.ContainerID,
		Attempt:     int32(min(s.Restarts, math.MaxInt32)), //nolint:gosec // it is bounded
	}
	if u.CPU != nil {
		stats.CPUNanoseconds = int64(u.CPU.User + u.CPU.System)
		stats.CPULimitMillis = int64(math.Round(u.CPU.Cores * 1000))
	}
	if u.Memory != nil {
		stats.MemoryBytes, stats.MemoryLimitBytes = bounded(u.Memory.Usage), bounded(u.Memory.Limit)
	}
	if u.Pids != nil {
		stats.Pids = bounded(*u.Pids)
	}
	return stats
}

func bounded(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
