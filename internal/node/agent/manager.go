package agent

import (
	"time"

	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/kube/strip"
)

// ManagerOptions are those of an agent's manager: it sees the StormWorkers of
// its own node only, and this node's StormNode, by field selectors at the API
// server, and elects no leader. It waits for an API server that is away as long as it takes: its
// workers run on meanwhile.
func ManagerOptions(node string) ctrl.Options {
	return ctrl.Options{
		Scheme: kinds.Scheme(),
		// Who wrote which field is of no use here, and larger than the rest.
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: map[client.Object]cache.ByObject{
			&api.StormWorker{}:  {Field: fields.OneTermEqualSelector("status.nodeName", node), Transform: strip.Metadata},
			&api.StormProfile{}: {Field: fields.OneTermEqualSelector("status.nodeName", node), Transform: strip.Metadata},
			&api.StormNode{}:    {Field: fields.OneTermEqualSelector("metadata.name", node)},
		}},
		Controller: config.Controller{CacheSyncTimeout: 365 * 24 * time.Hour},
	}
}
