// Package v1alpha1 holds the objects of the API group stormcell.dev: StormImage,
// an image tag that workers may use; StormWorker, one Storm worker process in
// one container; StormNode, what a node shall have ahead of time; and
// StormProfile, a look into a worker's JVM.
//
// +kubebuilder:object:generate=true
// +groupName=stormcell.dev
package v1alpha1

// The generators of client/ read +groupName in a file of this name alone.
