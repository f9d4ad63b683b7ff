// Package opener turns a store URL into a store: the one place that knows
// every backend.
package opener

import (
	"fmt"

	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/imagestore/localdir"
)

// Open returns the store at url. It does not contact the store.
func Open(url string) (imagestore.Writer, error) {
	a, err := imagestore.ParseAddress(url)
	if err != nil {
		return nil, err
	}
	switch a.Scheme {
	case "file":
		return localdir.New(a.Path), nil
	default:
		return nil, fmt.Errorf("store %s: this build reads file:// stores only", url)
	}
}
