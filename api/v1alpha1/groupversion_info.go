package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the types of this package.
var GroupVersion = schema.GroupVersion{Group: "stormcell.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion, by the name that generated clients use.
var SchemeGroupVersion = GroupVersion

// Resource returns the group and resource of a name, such as "stormworkers", for
// errors.
func Resource(name string) schema.GroupResource {
	return GroupVersion.WithResource(name).GroupResource()
}

// AddToScheme adds the objects of this package to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &StormImage{}, &StormImageList{}, &StormWorker{}, &StormWorkerList{}, &StormNode{}, &StormNodeList{}, &StormProfile{}, &StormProfileList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
