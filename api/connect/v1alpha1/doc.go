// Package v1alpha1 has the types of the API group connect.stormcell.dev: the logs
// and the current resource usage of workers. Nothing of it is stored: the API server
// passes each request to the manager, which passes it to the worker's node.
//
// +kubebuilder:object:generate=true
// +groupName=connect.stormcell.dev
package v1alpha1
