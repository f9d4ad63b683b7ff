package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/convert/compression"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// maxUnpackedLayer bounds the reading of a compressed layer only to learn its
// size.
const maxUnpackedLayer = 1 << 40

// dockerArchive is an image of an archive of "docker save" or skopeo. Such an
// archive has no manifest. As skopeo does, one is made, the same bytes each
// time: its layers are the uncompressed archives under the media type of
// compressed ones, which is the only one that Storm's own nodes accept.
type dockerArchive struct {
	*archive
	config  []byte
	content []byte
	// layers are the archived files by the digest of their uncompressed content.
	layers map[digest.Digest]string
}

// savedImage is an image in the archive's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openDockerArchive(ctx context.Context, a *archive, tag string) (*Image, error) {
	b := &dockerArchive{archive: a, layers: map[digest.Digest]string{}}
	if err := b.read(ctx, tag); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return newImage(ctx, b, b.content, digest.FromBytes(b.content), Platform{})
}

func (b *dockerArchive) read(ctx context.Context, tag string) error {
	content, err := b.document("manifest.json", manifest.MaxManifestSize)
	if err != nil {
		return fmt.Errorf("not an archive of docker save: %w", err)
	}
	var images []savedImage
	if err := json.Unmarshal(content, &images); err != nil {
		return fmt.Errorf("manifest.json: %w: %w", manifest.ErrMalformed, err)
	}
	image, err := selectSaved(images, tag)
	if err != nil {
		return err
	}
	if b.config, err = b.document(path.Clean("/" + image.Config)[1:], manifest.MaxConfigSize); err != nil {
		return fmt.Errorf("image config: %w", err)
	}
	config, err := manifest.ParseConfig(b.config, digest.FromBytes(b.config))
	if err != nil {
		return err
	}
	if len(config.DiffIDs) != len(image.Layers) {
		return fmt.Errorf("%w: the image config has %d layers, the archive %d", manifest.ErrMalformed, len(config.DiffIDs), len(image.Layers))
	}
	return b.makeManifest(ctx, config.DiffIDs, image.Layers)
}

func (b *dockerArchive) document(name string, limit int64) ([]byte, error) {
	f, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}

// selectSaved finds the image that tag names: a name with tag, or "@N" for
// the image at that index. Without one, the archive must hold one image.
func selectSaved(images []savedImage, tag string) (savedImage, error) {
	var tags []string
	for _, image := range images {
		tags = append(tags, image.RepoTags...)
		if tag != "" && slices.ContainsFunc(image.RepoTags, func(t string) bool { return sameName(t, tag) }) {
			return image, nil
		}
	}
	slices.Sort(tags)
	if index, ok := strings.CutPrefix(tag, "@"); ok {
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(images) {
			return images[i], nil
		}
	}
	switch {
	case tag != "" || len(images) == 0:
		return savedImage{}, fmt.Errorf("%w: image %q; the archive has %d with the names %q", ErrNotFound, tag, len(images), tags)
	case len(images) > 1:
		return savedImage{}, fmt.Errorf("%w: append :NAME:TAG, one of %q, or :@N", ErrAmbiguous, tags)
	}
	return images[0], nil
}

// sameName compares image names with their defaults filled in.
func sameName(a, b string) bool {
	x, errX := name.NewTag(a)
	y, errY := name.NewTag(b)
	return errX == nil && errY == nil && x.Name() == y.Name()
}

func (b *dockerArchive) makeManifest(ctx context.Context, diffIDs []digest.Digest, names []string) error {
	m := manifest.Manifest{
		SchemaVersion: 2,
		MediaType:     manifest.MediaTypeDockerManifest,
		Config: manifest.Descriptor{
			MediaType: manifest.MediaTypeDockerConfig,
			Size:      int64(len(b.config)),
			Digest:    digest.FromBytes(b.config),
		},
	}
	for i, d := range diffIDs {
		b.layers[d] = path.Clean("/" + names[i])[1:]
		size, err := b.unpackedSize(ctx, b.layers[d])
		if err != nil {
			return fmt.Errorf("layer %s: %w", names[i], err)
		}
		m.Layers = append(m.Layers, manifest.Descriptor{
			MediaType: manifest.MediaTypeDockerLayerGzip, Size: size, Digest: d,
		})
	}
	var err error
	b.content, err = json.Marshal(m)
	return err
}

// unpackedSize is the size of a layer's uncompressed archive.
func (b *dockerArchive) unpackedSize(ctx context.Context, name string) (int64, error) {
	s, err := b.find(name)
	if err != nil {
		return 0, err
	}
	var first [4]byte
	n, err := b.file.ReadAt(first[:min(4, s.size)], s.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if compression.Sniff(first[:n]) == compression.None {
		return s.size, nil
	}
	content, err := compression.NewReader(io.NewSectionReader(b.file, s.offset, s.size))
	if err != nil {
		return 0, err
	}
	defer content.Close()
	return countBytes(ctx, content)
}

// countBytes reads r to its end, or until ctx ends.
func countBytes(ctx context.Context, r io.Reader) (int64, error) {
	const step = 64 << 20
	var total int64
	for total < maxUnpackedLayer {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := io.CopyN(io.Discard, r, step)
		total += n
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: more than %d bytes", manifest.ErrUnsupported, int64(maxUnpackedLayer))
}

func (b *dockerArchive) manifest(_ context.Context, d digest.Digest) ([]byte, error) {
	return nil, fmt.Errorf("%w: manifest %s", ErrNotFound, d)
}

func (b *dockerArchive) blob(_ context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	if d.Digest == digest.FromBytes(b.config) {
		return io.NopCloser(bytes.NewReader(b.config)), nil
	}
	name, ok := b.layers[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%w: blob %s", ErrNotFound, d.Digest)
	}
	f, err := b.open(name)
	if err != nil {
		return nil, err
	}
	return compression.NewReader(f)
}
