// Command images writes the images of the daemons as OCI archives, from trees of
// files that hack/images/build.sh built. The same files give the same bytes,
// whenever, wherever and in which order they were written.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// daemons are the images that are written.
var daemons = []daemon{
	{
		name:        "manager",
		description: "Places StormWorkers on nodes and watches over their images",
		// A number: only of that the kubelet can tell that it is not root.
		user:   "65532:65532",
		layers: []string{"manager"},
	},
	{
		name:        "node-agent",
		description: "Runs the StormWorkers of a node",
		user:        "0:0",
		// What changes least comes first.
		layers: []string{"host-programs", "node-agent"},
	},
}

// architectures are those that each image is for.
var architectures = []string{"amd64", "arm64"}

func main() {
	version := flag.String("version", "", "`TAG` of the images")
	dir := flag.String("dir", "", "`DIR` with the trees, DIR/ARCHITECTURE/LAYER, to which the archives go")
	flag.Parse()
	for _, d := range daemons {
		if err := d.write(*dir, *version); err != nil {
			fmt.Fprintf(os.Stderr, "images: %s: %v\n", d.name, err)
			os.Exit(1)
		}
	}
}

// write makes dir/NAME.tar.
func (d daemon) write(dir, version string) error {
	index, err := d.index(dir, version)
	if err != nil {
		return err
	}
	parts, err := os.MkdirTemp(dir, "."+d.name+".")
	if err != nil {
		return err
	}
	defer os.RemoveAll(parts)
	if _, err := layout.Write(filepath.Join(parts, "layout"), archive(index, d.reference(version))); err != nil {
		return err
	}
	tar := filepath.Join(parts, "tar")
	if err := writeTar(tar, filepath.Join(parts, "layout")); err != nil {
		return err
	}
	return os.Rename(tar, filepath.Join(dir, d.name+".tar"))
}

// archive is the index of an OCI layout with one image, under the name by which
// containerd and kind (io.containerd.image.name) and skopeo know it.
func archive(image v1.ImageIndex, reference string) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: image,
		Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name":          reference,
			"org.opencontainers.image.ref.name": reference,
		}},
	})
}
