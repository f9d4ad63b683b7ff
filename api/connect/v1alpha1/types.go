package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the types of this package.
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

// StormWorkerStats is the resource usage of a running worker. The rate of usage is
// the difference of two of them, divided by the difference of their times.
//
// +kubebuilder:object:root=true
type StormWorkerStats struct {
	metav1.TypeMeta `json:",inline"`
	// metadata has the worker's name and namespace, and nothing else.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// time is when the node read the values, by the node's clock.
	// +required
	Time metav1.MicroTime `json:"time"`
	// containerID is the worker's container.
	// +required
	ContainerID string `json:"containerID"`
	// attempt counts the starts of the container from 0. Values of different
	// attempts must not be subtracted.
	// +required
	Attempt int32 `json:"attempt"`
	// cpuNanoseconds is the CPU time that the container has used since its start.
	// +required
	CPUNanoseconds int64 `json:"cpuNanoseconds"`
	// cpuLimitMillis is the CPU limit in thousandths of a CPU; 0 for no limit.
	// +optional
	CPULimitMillis int64 `json:"cpuLimitMillis,omitempty"`
	// memoryBytes is the memory that it uses, with the page cache of the files that
	// it has read or written.
	// +required
	MemoryBytes int64 `json:"memoryBytes"`
	// memoryLimitBytes is the memory limit; 0 for no limit.
	// +optional
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// pids is the number of its processes and threads.
	// +required
	Pids int64 `json:"pids"`
}

// StormWorkerStatsList is the usage of the running workers of a namespace.
//
// +kubebuilder:object:root=true
type StormWorkerStatsList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata has nothing.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items has the running workers, sorted by name.
	// +required
	Items []StormWorkerStats `json:"items"`
	// unreachable are nodes whose workers are missing, sorted by name.
	// +optional
	Unreachable []UnreachableNode `json:"unreachable,omitempty"`
}

// UnreachableNode is a node that did not report the usage of its workers.
type UnreachableNode struct {
	// node is the name of the node.
	// +required
	Node string `json:"node"`
	// message is why, in a sentence.
	// +required
	Message string `json:"message"`
}
