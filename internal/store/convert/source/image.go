// Package source reads images from registries, OCI layouts, and archives of skopeo and
// Docker. It is the only package that
// knows go-containerregistry.
package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Errors of sources.
var (
	// ErrBadReference is an image name that breaks the grammar.
	ErrBadReference = errors.New("bad image name")
	// ErrNotFound is an image, or a blob of one, that the source does not have.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous is a source of several images without the name of one.
	ErrAmbiguous = errors.New("more than one image")
	// ErrNoPlatform is an image that there is not for the platform.
	ErrNoPlatform = errors.New("no image for this platform")
)

// Image is an image of a source. Its manifest has been checked against its
// digest; its blobs have not.
type Image struct {
	// Name is what the image was opened by.
	Name string
	// Content is the manifest as the source has it, byte for byte, and Digest
	// its digest.
	Content []byte
	Digest  digest.Digest
	// Manifest is the parsed content.
	Manifest *manifest.Manifest
	blobs    blobs
}

// blobs is what the kinds of sources differ in.
type blobs interface {
	// manifest returns the manifest or index of that digest; at most
	// manifest.MaxManifestSize bytes.
	manifest(ctx context.Context, d digest.Digest) ([]byte, error)
	// blob opens a config or a layer.
	blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error)
	io.Closer
}

// Open finds the image that name (see ParseReference) means for a platform.
// The caller closes it.
func Open(ctx context.Context, name string, platform Platform) (*Image, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return nil, err
	}
	image, err := ref.open(ctx, platform)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	image.Name = name
	return image, nil
}

func (r Reference) open(ctx context.Context, platform Platform) (*Image, error) {
	switch r.Transport {
	case OCI:
		return openLayout(ctx, directory(r.Path), r.Tag, platform)
	case OCIArchive:
		files, err := openArchive(r.Path)
		if err != nil {
			return nil, err
		}
		return openLayout(ctx, files, r.Tag, platform)
	case DockerArchive:
		files, err := openArchive(r.Path)
		if err != nil {
			return nil, err
		}
		return openDockerArchive(ctx, files, r.Tag)
	default:
		return openRegistry(ctx, r.Path, platform)
	}
}

// Blob opens the image's config or one of its layers. What it reads has not
// been verified.
func (i *Image) Blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	return i.blobs.blob(ctx, d)
}

// Close lets go of the source.
func (i *Image) Close() error { return i.blobs.Close() }

// maxNesting is how deep indexes may lie in indexes.
const maxNesting = 4

// newImage follows a manifest or index to the platform's image. It closes b
// when it fails.
func newImage(ctx context.Context, b blobs, content []byte, d digest.Digest, platform Platform) (*Image, error) {
	image, err := resolve(ctx, b, content, d, platform)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return image, nil
}

func resolve(ctx context.Context, b blobs, content []byte, d digest.Digest, platform Platform) (*Image, error) {
	for range maxNesting {
		entries, isIndex, err := parseIndex(content, d)
		if err != nil {
			return nil, err
		}
		if !isIndex {
			m, err := manifest.Parse(content, d)
			if err != nil {
				return nil, err
			}
			return &Image{Content: content, Digest: d, Manifest: m, blobs: b}, nil
		}
		entry, err := choose(entries, platform)
		if err != nil {
			return nil, err
		}
		d = digest.Digest(entry.Digest.String())
		if content, err = b.manifest(ctx, d); err != nil {
			return nil, fmt.Errorf("read manifest %s: %w", d, err)
		}
	}
	return nil, fmt.Errorf("%w: indexes nested more than %d deep", manifest.ErrUnsupported, maxNesting)
}

// parseIndex returns the entries of an index, or false for another document.
func parseIndex(content []byte, want digest.Digest) ([]v1.Descriptor, bool, error) {
	if len(content) > manifest.MaxManifestSize {
		return nil, false, fmt.Errorf("%w: manifest or index %s is larger than %d bytes", manifest.ErrMalformed, want, manifest.MaxManifestSize)
	}
	if got := digest.FromBytes(content); got != want {
		return nil, false, fmt.Errorf("manifest %s: %w: it hashes to %s", want, manifest.ErrDigestMismatch, got)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, false, fmt.Errorf("manifest %s: %w: %w", want, manifest.ErrMalformed, err)
	}
	switch index.MediaType {
	case types.OCIImageIndex, types.DockerManifestList:
		return index.Manifests, true, nil
	case "": // OCI documents may leave it out
		return index.Manifests, index.Manifests != nil, nil
	default:
		return nil, false, nil
	}
}

// readLimited reads a document of at most limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%w: larger than %d bytes", manifest.ErrMalformed, limit)
	}
	return content, err
}
