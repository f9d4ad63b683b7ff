// Package strip takes from objects what a program does not read of them, before they
// come into its cache: who may create objects decides how large that is.
package strip

import (
	"k8s.io/apimachinery/pkg/api/meta"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Metadata takes away what nobody reads of the metadata of StormWorkers and StormProfiles:
// who wrote which field, labels, owners, and annotations, of which kubectl's has the whole
// object once more. It is a transform of a cache; objects that are none stay as they are.
func Metadata(o any) (any, error) {
	object, err := meta.Accessor(o)
	if err != nil {
		return o, nil //nolint:nilerr // such as what a cache holds of an object that is gone
	}
	object.SetManagedFields(nil)
	object.SetAnnotations(nil)
	object.SetLabels(nil)
	object.SetOwnerReferences(nil)
	return o, nil
}

// Program is Metadata, and takes the command and the environment of StormWorkers too.
func Program(o any) (any, error) {
	if w, ok := o.(*api.StormWorker); ok {
		w.Spec.Command, w.Spec.Env = nil, nil
	}
	return Metadata(o)
}
