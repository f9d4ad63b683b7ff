package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// refName is the annotation that names an image of an OCI layout.
const refName = "org.opencontainers.image.ref.name"

// files are the files of a directory or of an archive.
type files interface {
	// open opens a regular file; the error wraps ErrNotFound if it is not there.
	open(name string) (io.ReadCloser, error)
	io.Closer
}

// directory is a directory of this machine.
type directory string

func (d directory) open(name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return f, err
}

func (d directory) Close() error { return nil }

// layout is an OCI image layout.
type layout struct{ files }

func openLayout(ctx context.Context, f files, tag string, platform Platform) (*Image, error) {
	b := layout{f}
	content, d, err := b.entry(ctx, tag, platform)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return newImage(ctx, b, content, d, platform)
}

// entry reads the manifest or index that the layout has under tag. Without a
// tag, it is the only one, or else the only one for the platform.
func (l layout) entry(ctx context.Context, tag string, platform Platform) ([]byte, digest.Digest, error) {
	f, err := l.open("index.json")
	if err != nil {
		return nil, "", fmt.Errorf("not an OCI image layout: %w", err)
	}
	defer f.Close()
	content, err := readLimited(f, manifest.MaxManifestSize)
	if err != nil {
		return nil, "", fmt.Errorf("read index.json: %w", err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, "", fmt.Errorf("index.json: %w: %w", manifest.ErrMalformed, err)
	}
	chosen, err := named(index.Manifests, tag)
	if err != nil {
		return nil, "", err
	}
	if len(chosen) > 1 {
		one, err := choose(chosen, platform)
		if err != nil {
			return nil, "", err
		}
		chosen = []v1.Descriptor{one}
	}
	d := digest.Digest(chosen[0].Digest.String())
	content, err = l.manifest(ctx, d)
	return content, d, err
}

// named returns the entries that tag names. Several with one name are the
// platforms of an image.
func named(entries []v1.Descriptor, tag string) ([]v1.Descriptor, error) {
	var names []string
	byName := map[string][]v1.Descriptor{}
	for _, e := range entries {
		n := e.Annotations[refName]
		names = append(names, n)
		byName[n] = append(byName[n], e)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(entries) == 0:
		return nil, fmt.Errorf("%w: the layout holds no image", ErrNotFound)
	case tag != "" && byName[tag] == nil:
		return nil, fmt.Errorf("%w: tag %q; there is %q", ErrNotFound, tag, names)
	case tag != "":
		return byName[tag], nil
	case len(byName) > 1:
		return nil, fmt.Errorf("%w: append :TAG, one of %q", ErrAmbiguous, names)
	default:
		return entries, nil
	}
}

func (l layout) manifest(_ context.Context, d digest.Digest) ([]byte, error) {
	f, err := l.openBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := readLimited(f, manifest.MaxManifestSize)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	return content, nil
}

func (l layout) blob(_ context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	return l.openBlob(d.Digest)
}

func (l layout) openBlob(d digest.Digest) (io.ReadCloser, error) {
	if err := manifest.ValidateDigest(d); err != nil {
		return nil, err
	}
	f, err := l.open("blobs/sha256/" + d.Encoded())
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	return f, nil
}
