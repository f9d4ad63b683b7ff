// Package connect serves the API group connect.stormcell.dev over HTTPS: the logs and
// the current resource usage of workers. Manager and node-agent serve the same paths,
// the manager to the API server and the node-agent to the manager:
//
//	user ──> API server ──front proxy──> manager ──token for this node──> agent
//
// Each of them authenticates and authorizes the caller again.
package connect

import (
	"context"
	"io"

	"k8s.io/apimachinery/pkg/types"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// Base is the path below which the group is served.
var Base = "/apis/" + connectv1.GroupVersion.String()

// Audience returns the audience of the manager's tokens for the agent of a node. No
// other server accepts them, so a compromised node can do nothing with the tokens
// that it receives.
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
	// Stats returns the usage of a worker.
	Stats(ctx context.Context, worker types.NamespacedName) (*connectv1.StormWorkerStats, error)
	// ListStats returns the usage of the running workers of a namespace.
	ListStats(ctx context.Context, namespace string) (*connectv1.StormWorkerStatsList, error)
}
