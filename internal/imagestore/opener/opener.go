// Package opener turns a store URL into a store: the one place that knows
// every backend.
package opener

import (
	"fmt"
	"path"

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

// OpenFile returns the store that is the folder of the file at url, such as a
// tag file, and the file's name in it. It does not contact the store.
func OpenFile(url string) (store imagestore.Writer, name string, err error) {
	a, err := imagestore.ParseAddress(url)
	if err != nil {
		return nil, "", err
	}
	dir, name := path.Split(a.Path)
	a.Path = path.Clean(dir)
	store, err = Open(a.String())
	return store, name, err
}
