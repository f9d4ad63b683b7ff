// Package v1alpha1 holds the objects of the API group stormcell.dev: StormImage,
// an image tag that workers may use; StormWorker, one Storm worker process in
// one container; and StormNode, what a node shall have ahead of time.
//
// +kubebuilder:object:generate=true
// +groupName=stormcell.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the objects in this package.
var GroupVersion = schema.GroupVersion{Group: "stormcell.dev", Version: "v1alpha1"}

// AddToScheme adds the objects of this package to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &StormImage{}, &StormImageList{}, &StormWorker{}, &StormWorkerList{}, &StormNode{}, &StormNodeList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
