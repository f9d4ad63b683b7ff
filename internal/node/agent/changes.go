package agent

import (
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stormcell/stormcell/internal/kube/requests"
	"github.com/stormcell/stormcell/internal/node/engine"
)

// Changes is a source of looks at workers, fed by the engine.
type Changes struct{ requests.Source }

// Add asks for a look at the worker of s. It does not block.
func (c *Changes) Add(s engine.State) {
	c.Source.Add(ctrl.Request{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Name}})
}

// String names the source in messages of the controller.
func (c *Changes) String() string { return "changes of the engine" }

// ProfileChanges is a source of looks at StormProfiles, fed by what has ended.
type ProfileChanges struct{ requests.Source }

// String names the source in messages of the controller.
func (c *ProfileChanges) String() string { return "ends of profiles" }

// PrefetchChanges is a source of looks at this node's StormNode, fed by the
// prefetch queue and by runtimes that come and go.
type PrefetchChanges struct {
	requests.Source
	// Node is the name of this node.
	Node string
}

// Add asks for a look. It does not block.
func (c *PrefetchChanges) Add() {
	c.Source.Add(ctrl.Request{NamespacedName: types.NamespacedName{Name: c.Node}})
}

// String names the source in messages of the controller.
func (c *PrefetchChanges) String() string { return "changes of the prefetch queue and of runtimes" }
