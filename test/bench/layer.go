package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layerSize is how much a made layer holds, in bytes of its archive.
const layerSize = 1_250_000_000

// layer is a layer archive for measurements.
type layer struct {
	file     string // tar.gz
	size     int64
	digest   digest.Digest
	diffID   digest.Digest
	unpacked int64 // bytes of the archive
	files    int
}

// makeLayer packs programs, libraries and texts of this machine as image
// builders do (gzip -6), or takes the file given.
func makeLayer(ctx context.Context, dir, given string) (layer, error) {
	l := layer{file: given}
	if given == "" {
		l.file = filepath.Join(dir, "layer.tar.gz")
		if err := packThisMachine(ctx, l.file); err != nil {
			return l, err
		}
	}
	return l, l.inspect(ctx)
}

// packThisMachine packs folders that hold what images hold, until it is enough.
func packThisMachine(ctx context.Context, name string) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	z, err := pgzip.NewWriterLevel(out, 6)
	if err != nil {
		return err
	}
	p := packer{ctx: ctx, tar: tar.NewWriter(z), left: layerSize}
	roots := []string{"/usr/bin", "/usr/share", "/usr/lib"}
	if cache, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output(); err == nil {
		roots = append(roots, strings.TrimSpace(string(cache)))
	}
	for _, root := range roots {
		if err := filepath.WalkDir(root, p.add); err != nil {
			return fmt.Errorf("pack %s: %w", root, err)
		}
	}
	return errors.Join(p.tar.Close(), z.Close(), out.Close())
}

// packer adds files to an archive until left is used up.
type packer struct {
	ctx  context.Context //nolint:containedctx // WalkDir's callback has no other way to it
	tar  *tar.Writer
	left int64
}

func (p *packer) add(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if p.left <= 0 {
		return fs.SkipAll
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	fi, err := d.Info()
	if err != nil {
		return err
	}
	var target string
	switch fi.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	default:
		return nil
	}
	h, err := tar.FileInfoHeader(fi, target)
	if err != nil {
		return err
	}
	h.Name = strings.TrimPrefix(path, "/")
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	p.left -= 512 + fi.Size()
	if !fi.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(p.tar, f, fi.Size())
	return err
}

// inspect reads the archive once, for its digests and sizes.
func (l *layer) inspect(ctx context.Context) error {
	f, err := os.Open(l.file)
	if err != nil {
		return err
	}
	defer f.Close()
	packed, unpacked := digest.SHA256.Digester(), digest.SHA256.Digester()
	z, err := pgzip.NewReader(io.TeeReader(f, packed.Hash()))
	if err != nil {
		return fmt.Errorf("%s: %w", l.file, err)
	}
	defer z.Close()
	counted := &counter{r: io.TeeReader(struct{ io.Reader }{z}, unpacked.Hash())}
	in := tar.NewReader(counted)
	for {
		_, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("%s: %w", l.file, err)
		}
		l.files++
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return fmt.Errorf("%s: %w", l.file, err)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	l.size, l.digest, l.diffID, l.unpacked = fi.Size(), packed.Digest(), unpacked.Digest(), counted.n
	return nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// writeLayout makes an OCI image layout with the layer in it, by a link, and
// returns its name as a source.
func (l layer) writeLayout(dir string) (string, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", err
	}
	file, err := filepath.Abs(l.file)
	if err != nil {
		return "", err
	}
	if err := os.Symlink(file, filepath.Join(blobs, l.digest.Encoded())); err != nil {
		return "", err
	}
	config, err := put(blobs, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.diffID}},
	})
	if err != nil {
		return "", err
	}
	m, err := put(blobs, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: l.digest, Size: l.size}},
	})
	if err != nil {
		return "", err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{m}})
	if err != nil {
		return "", err
	}
	return "oci:" + dir, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)
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
