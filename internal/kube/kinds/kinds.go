// Package kinds registers the kinds of objects that stormcell's programs use.
package kinds

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Scheme returns a new scheme with the kinds of Kubernetes and of stormcell.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	// They fail only if two kinds of this program contradict each other.
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(api.AddToScheme(s))
	return s
}
