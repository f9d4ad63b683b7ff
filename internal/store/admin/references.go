package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// references are the blobs that manifests need: layers and configs.
type references map[digest.Digest]bool

// references collects what all manifests need but those that will be removed.
// Images without tags count too, also dead ones: somebody may tag them again.
// It fails with ErrUnknownReferences where a manifest cannot be read.
func (inv *inventory) references(removed map[digest.Digest]bool) (references, error) {
	needed := references{}
	for _, d := range slices.Sorted(maps.Keys(inv.manifests)) {
		m := inv.manifests[d]
		switch {
		case removed[d]:
		case errors.Is(m.err, fs.ErrPermission):
			return nil, fmt.Errorf("%w: %s: %w: only the owner of the store may read it: run the command as that user", ErrUnknownReferences, manifest.ManifestFile(d), m.err)
		case m.err != nil:
			return nil, fmt.Errorf("%w: %w: repair it with \"pull-build-push-update --force\", or delete it with \"remove-image %s\"", ErrUnknownReferences, m.err, d.Encoded())
		default:
			needed[m.manifest.Config.Digest] = true
			for _, l := range m.manifest.Layers {
				needed[l.Digest] = true
			}
		}
	}
	return needed, nil
}

// removal lists the files of an image that nothing else needs, in the order in
// which they are deleted, and spares them from then on: another image of the
// same removal does not list them again. The manifest stays until what it
// names is gone, so that a removal that was cut short can be repeated; the
// marker, which says that it is under way, is last.
func removal(d digest.Digest, m *manifest.Manifest, spared references) []string {
	var files []string
	if m != nil {
		for _, l := range m.Layers {
			if !spared[l.Digest] {
				files = append(files, manifest.LayerFile(l.Digest), manifest.IdentityFile(l.Digest))
				spared[l.Digest] = true
			}
		}
		if !spared[m.Config.Digest] {
			files = append(files, manifest.ConfigFile(m.Config.Digest))
			spared[m.Config.Digest] = true
		}
	}
	return append(files, manifest.ManifestFile(d), publish.MarkerFile(d))
}
