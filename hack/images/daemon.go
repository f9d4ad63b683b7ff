package main

import (
	"maps"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	registry = "ghcr.io/stormcell"
	source   = "https://github.com/stormcell/stormcell"
)

// A daemon is an image whose command is the program of the same name at its root.
type daemon struct {
	name        string
	description string
	// user is who the command runs as, UID:GID.
	user string
	// layers name the trees that the image consists of, the lowest first.
	layers []string
}

func (d daemon) reference(version string) string { return registry + "/" + d.name + ":" + version }

// index is the image for all architectures, of the trees below a directory.
func (d daemon) index(dir, version string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range architectures {
		image, err := d.image(filepath.Join(dir, architecture), architecture, version)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return mutate.Annotations(index, d.labels(version)).(v1.ImageIndex), nil //nolint:errcheck // it gives back the kind that it is given
}

// image is the image for one architecture, of the trees in a directory.
func (d daemon) image(dir, architecture, version string) (v1.Image, error) {
	labels := d.labels(version)
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           "linux",
		Architecture: architecture,
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       d.user,
			Entrypoint: []string{"/" + d.name},
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Labels:     maps.Clone(labels),
		},
	})
	if err != nil {
		return nil, err
	}
	for _, name := range d.layers {
		layer, err := layerOf(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/images/build.sh", Comment: name},
		})
		if err != nil {
			return nil, err
		}
	}
	return mutate.Annotations(image, labels).(v1.Image), nil //nolint:errcheck // it gives back the kind that it is given
}

// labels say what the image is, in the words of the OCI's specification.
func (d daemon) labels(version string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       d.name,
		"org.opencontainers.image.description": d.description,
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// epoch is the time of all that has one.
var epoch = time.Unix(0, 0).UTC()
