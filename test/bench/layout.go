package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeLayout makes an image of layers, base first, and an environment: an OCI
// image layout with the layers in it, by links. It returns its name as a source.
func writeLayout(dir string, env []string, layers ...layer) (string, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var diffIDs []digest.Digest
	for _, l := range layers {
		file, err := filepath.Abs(l.file)
		if err != nil {
			return "", err
		}
		// A given layer may be on another file system.
		blob := filepath.Join(blobs, l.digest.Encoded())
		if os.Link(file, blob) != nil {
			if err := os.Symlink(file, blob); err != nil {
				return "", err
			}
		}
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: l.digest, Size: l.size})
		diffIDs = append(diffIDs, l.diffID)
	}
	var err error
	m.Config, err = put(blobs, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Env: env},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
	if err != nil {
		return "", err
	}
	described, err := put(blobs, ocispec.MediaTypeImageManifest, m)
	if err != nil {
		return "", err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{described}})
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{"index.json": string(index), ocispec.ImageLayoutFile: `{"imageLayoutVersion":"1.0.0"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	return "oci:" + dir, nil
}

// put writes a document as a blob.
func put(blobs, mediaType string, document any) (ocispec.Descriptor, error) {
	content, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := digest.FromBytes(content)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))},
		os.WriteFile(filepath.Join(blobs, d.Encoded()), content, 0o644)
}
