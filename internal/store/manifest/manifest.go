// Package manifest has the documents of an image store as values: manifests, image
// configs, layer identities and the tag file, with their names in the store and their
// size limits. It does no input or output, and trusts no byte that it parses.
package manifest

import (
	_ "crypto/sha256" // go-digest knows only the hashes that are linked in
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Size limits of the documents of a store, in bytes. They bound what a damaged
// or hostile store can make a reader hold in memory.
const (
	MaxManifestSize = 1 << 20
	MaxConfigSize   = 4 << 20
	MaxIdentitySize = 4 << 10
	MaxTagFileSize  = 16 << 20
)

// MaxLayers is the number of lower directories that overlayfs stacks
// (OVL_MAX_STACK in the kernel).
const MaxLayers = 500

// Errors that distinguish damaged documents from those that this version cannot use.
var (
	// ErrMalformed is a document that breaks its own format.
	ErrMalformed = errors.New("malformed")
	// ErrDigestMismatch is content whose hash is not the one that names it.
	ErrDigestMismatch = errors.New("content does not match its digest")
	// ErrUnsupported is a well-formed document of a kind that is not handled,
	// such as a schema 1 manifest or a foreign layer.
	ErrUnsupported = errors.New("unsupported")
)

// Media types of the manifests, configs and layers that a store may hold.
const (
	MediaTypeDockerManifest          = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerConfig            = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayerGzip         = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	MediaTypeDockerLayerZstd         = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	MediaTypeDockerLayerUncompressed = "application/vnd.docker.image.rootfs.diff.tar"
	MediaTypeOCIManifest             = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeOCIConfig               = "application/vnd.oci.image.config.v1+json"
	MediaTypeOCILayer                = "application/vnd.oci.image.layer.v1.tar"
	MediaTypeOCILayerGzip            = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaTypeOCILayerZstd            = "application/vnd.oci.image.layer.v1.tar+zstd"
)

var (
	manifestTypes = []string{MediaTypeDockerManifest, MediaTypeOCIManifest}
	configTypes   = []string{MediaTypeDockerConfig, MediaTypeOCIConfig}
	layerTypes    = []string{
		MediaTypeDockerLayerGzip, MediaTypeDockerLayerZstd, MediaTypeDockerLayerUncompressed,
		MediaTypeOCILayer, MediaTypeOCILayerGzip, MediaTypeOCILayerZstd,
	}
)

// Descriptor points to a blob: its kind, its size in bytes and its digest.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	Digest    digest.Digest `json:"digest"`
}

// Manifest lists the config and the layers of one image, base layer first.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        Descriptor   `json:"config"`
	Layers        []Descriptor `json:"layers"`
}

// Parse reads a manifest whose content must have the digest want. Unknown
// members are ignored. Errors wrap ErrDigestMismatch, ErrMalformed or
// ErrUnsupported.
func Parse(content []byte, want digest.Digest) (*Manifest, error) {
	if err := verify(content, want, MaxManifestSize); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", want, err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(content, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w: %w", want, ErrMalformed, err)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", want, err)
	}
	return m, nil
}

func (m *Manifest) validate() error {
	if m.SchemaVersion != 2 {
		return fmt.Errorf("%w schemaVersion %d, want 2", ErrUnsupported, m.SchemaVersion)
	}
	// OCI manifests may leave the media type out.
	if m.MediaType != "" && !slices.Contains(manifestTypes, m.MediaType) {
		return fmt.Errorf("%w media type %q", ErrUnsupported, m.MediaType)
	}
	if err := m.Config.validate("config", configTypes); err != nil {
		return err
	}
	if len(m.Layers) == 0 {
		return fmt.Errorf("%w: no layers", ErrMalformed)
	}
	if len(m.Layers) > MaxLayers {
		return fmt.Errorf("%w: %d layers, the kernel stacks at most %d", ErrUnsupported, len(m.Layers), MaxLayers)
	}
	for i, l := range m.Layers {
		if err := l.validate(fmt.Sprintf("layer %d", i), layerTypes); err != nil {
			return err
		}
	}
	return nil
}

func (d Descriptor) validate(what string, types []string) error {
	if !slices.Contains(types, d.MediaType) {
		return fmt.Errorf("%s: %w media type %q", what, ErrUnsupported, d.MediaType)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: %w: negative size %d", what, ErrMalformed, d.Size)
	}
	if err := ValidateDigest(d.Digest); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ValidateDigest accepts "sha256:" and 64 lower-case hex digits only, so that
// a digest is safe as part of a path.
func ValidateDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%w: %q is not a sha256 digest", ErrMalformed, string(d))
	}
	return nil
}

// verify checks the limit and the digest of a document.
func verify(content []byte, want digest.Digest, limit int) error {
	if len(content) > limit {
		return fmt.Errorf("%w: larger than %d bytes", ErrMalformed, limit)
	}
	if err := ValidateDigest(want); err != nil {
		return err
	}
	if got := digest.FromBytes(content); got != want {
		return fmt.Errorf("%w: it hashes to %s", ErrDigestMismatch, got)
	}
	return nil
}
