// Package connect serves the API group connect.stormcell.dev over HTTPS: the
// logs and the present use of workers. Manager and node-agent serve the same
// paths, the one to the API server and the other to the manager:
//
//	user ──> API server ──front proxy──> manager ──token for this node──> agent
//
// Who asks is authenticated and authorized anew at each of them.
package connect

import (
	"context"
	"io"

	"k8s.io/apimachinery/pkg/types"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// Base is the path below which the group is served.
var Base = "/apis/" + connectv1.GroupVersion.String()

// Audience is whom the manager's tokens for the agent of a node are made for.
// Nobody else takes them, so that a node which has been taken over can do
// nothing with those that it gets.
func Audience(node string) string { return "stormcell.dev/node/" + node }

// LogPath is the path of a worker's log.
func LogPath(worker types.NamespacedName) string {
	return workerPath(worker) + "/" + connectv1.SubresourceLog
}

// StatsPath is the path of what a worker uses.
func StatsPath(worker types.NamespacedName) string {
	return workerPath(worker) + "/" + connectv1.SubresourceStats
}

// ListStatsPath is the path of what the workers of a namespace use.
func ListStatsPath(namespace string) string {
	return Base + "/namespaces/" + namespace + "/" + connectv1.ResourceWorkerStats
}

func workerPath(worker types.NamespacedName) string {
	return Base + "/namespaces/" + worker.Namespace + "/" + connectv1.ResourceWorkers + "/" + worker.Name
}

// Backend answers those who may ask. Its errors are Statuses of the API, which
// are sent as they are; others are internal.
type Backend interface {
	// Log opens a worker's log. The stream ends with ctx.
	Log(ctx context.Context, worker types.NamespacedName, o connectv1.LogOptions) (io.ReadCloser, error)
	// Stats tells what a worker uses.
	Stats(ctx context.Context, worker types.NamespacedName) (*connectv1.StormWorkerStats, error)
	// ListStats tells what the workers of a namespace use that run.
	ListStats(ctx context.Context, namespace string) (*connectv1.StormWorkerStatsList, error)
}
