package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of what this package describes.
var GroupVersion = schema.GroupVersion{Group: "connect.stormcell.dev", Version: "v1alpha1"}

// What the group serves, in a namespace:
//
//	get   stormworkers/NAME/log    text/plain, by LogOptions
//	get   stormworkers/NAME/stats  StormWorkerStats
//	list  stormworkerstats         StormWorkerStatsList
const (
	ResourceWorkers     = "stormworkers"
	ResourceWorkerStats = "stormworkerstats"
	SubresourceLog      = "log"
	SubresourceStats    = "stats"
)

// AddToScheme adds the objects of this package to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &StormWorkerStats{}, &StormWorkerStatsList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// StormWorkerStats is what a running worker uses. The rate of use is the
// difference of two of them, divided by that of their times.
//
// +kubebuilder:object:root=true
type StormWorkerStats struct {
	metav1.TypeMeta `json:",inline"`
	// metadata has the worker's name and namespace, and nothing else.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// time is when the node read the figures, by the node's clock.
	// +required
	Time metav1.MicroTime `json:"time"`
	// containerID is the worker's container.
	// +required
	ContainerID string `json:"containerID"`
	// attempt counts the starts of the container from 0: figures of two attempts
	// have no difference.
	// +required
	Attempt int32 `json:"attempt"`
	// cpuNanoseconds is the time of processors that the container has used since
	// its start.
	// +required
	CPUNanoseconds int64 `json:"cpuNanoseconds"`
	// cpuLimitMillis is how many thousandths of a processor it may use at once;
	// 0 for no limit.
	// +optional
	CPULimitMillis int64 `json:"cpuLimitMillis,omitempty"`
	// memoryBytes is what it holds, the files in the page cache that it has read
	// or written included.
	// +required
	MemoryBytes int64 `json:"memoryBytes"`
	// memoryLimitBytes is what it may hold; 0 for no limit.
	// +optional
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// pids is the number of its processes and threads.
	// +required
	Pids int64 `json:"pids"`
}

// StormWorkerStatsList is what the running workers of a namespace use.
//
// +kubebuilder:object:root=true
type StormWorkerStatsList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata has nothing.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are sorted by name. Workers that do not run are not among them.
	// +required
	Items []StormWorkerStats `json:"items"`
	// unreachable are nodes whose workers are missing, sorted by name.
	// +optional
	Unreachable []UnreachableNode `json:"unreachable,omitempty"`
}

// UnreachableNode is a node that did not tell what its workers use.
type UnreachableNode struct {
	// node is its name.
	// +required
	Node string `json:"node"`
	// message says why, in a sentence.
	// +required
	Message string `json:"message"`
}
