// Package v1alpha1 holds what the API group connect.stormcell.dev answers with:
// the logs and the present use of workers. Nothing of it is stored: the API
// server hands each request to the manager, and that to the worker's node.
//
// +kubebuilder:object:generate=true
// +groupName=connect.stormcell.dev
package v1alpha1
