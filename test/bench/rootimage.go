package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stormcell/stormcell/test/image"
)

// The image of the cold start: about 1.2 GB in layers of at most 320 MB, as a
// worker's image has: programs, a JDK, libraries.
const (
	rootImageSize  = 1_200_000_000
	rootImageLayer = 320_000_000
)

// rootImage is an image that containers can start from, as an OCI layout.
type rootImage struct {
	dir      string
	layers   []layer
	size     int64 // of the layers' archives, in bytes
	unpacked int64
	files    int
}

// source is the image's name for docker-to-squash.
func (r rootImage) source() string { return "oci:" + r.dir }

// String says in short what the image is.
func (r rootImage) String() string {
	return fmt.Sprintf("%.2f GB of this machine's programs, JDK and libraries in %d files and %d layers (%.2f GB as tar.gz)",
		gb(r.unpacked), r.files, len(r.layers), gb(r.size))
}

// makeRootImage packs files of this machine above a layer with bash.
func makeRootImage(ctx context.Context, dir string) (rootImage, error) {
	r := rootImage{dir: filepath.Join(dir, "layout")}
	base := filepath.Join(dir, "base.tar.gz")
	if err := image.WriteBase(base); err != nil {
		return r, err
	}
	l, err := inspect(ctx, base)
	if err != nil {
		return r, err
	}
	r.add(l)
	files, err := filesOf(ctx, []string{
		"/usr/lib/jvm", "/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/share", moduleCache(ctx),
	}, rootImageSize)
	if err != nil {
		return r, err
	}
	for i, part := range cut(files, rootImageLayer) {
		if l, err = packLayer(ctx, filepath.Join(dir, fmt.Sprintf("layer-%d.tar.gz", i)), part); err != nil {
			return r, err
		}
		r.add(l)
	}
	if r.unpacked < rootImageSize*9/10 {
		return r, fmt.Errorf("this machine has files for an image of %d bytes, the goal speaks of 1.2 GB", r.unpacked)
	}
	_, err = writeLayout(r.dir, []string{"PATH=" + image.Path}, r.layers...)
	return r, err
}

func (r *rootImage) add(l layer) {
	r.layers = append(r.layers, l)
	r.size, r.unpacked, r.files = r.size+l.size, r.unpacked+l.unpacked, r.files+l.files
}

// cut divides files into runs that make archives of at most a size, but for
// single files that are larger.
func cut(files []file, size int64) [][]file {
	var parts [][]file
	begin, left := 0, size
	for i, f := range files {
		if f.packed() > left && i > begin {
			parts = append(parts, files[begin:i])
			begin, left = i, size
		}
		left -= f.packed()
	}
	return append(parts, files[begin:])
}

// push puts the image into a registry without TLS.
func (r rootImage) push(ctx context.Context, address string) error {
	index, err := layout.ImageIndexFromPath(r.dir)
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	tag, err := name.NewTag(address, name.Insecure)
	if err != nil {
		return fmt.Errorf("push %s: %w", address, err)
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", address, err)
	}
	return nil
}
