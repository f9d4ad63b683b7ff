// Package v1alpha1 has the types of the API group stormcell.dev: StormImage, an
// image tag that workers may use; StormWorker, one Storm worker process in one
// container; StormNode, what a node is to prefetch and how its agent is reached; and
// StormProfile, one profile of a worker's Java process.
//
// +kubebuilder:object:generate=true
// +groupName=stormcell.dev
package v1alpha1

// The generators of client/ read +groupName only in a file of this name.
