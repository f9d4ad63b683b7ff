package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
)

// layerSize is how much the layer of the conversion holds, in bytes of its archive.
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
	if given != "" {
		return inspect(ctx, given)
	}
	files, err := filesOf(ctx, []string{"/usr/bin", "/usr/share", "/usr/lib", moduleCache(ctx)}, layerSize)
	if err != nil {
		return layer{}, err
	}
	return packLayer(ctx, filepath.Join(dir, "layer.tar.gz"), files)
}

// moduleCache is the folder of Go's downloaded modules: a lot of text.
func moduleCache(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// file is a file, a folder or a link of this machine.
type file struct {
	path string
	info fs.FileInfo
}

// packed is what a file takes in an archive, about.
func (f file) packed() int64 {
	if !f.info.Mode().IsRegular() {
		return 512
	}
	return 512 + f.info.Size()
}

// filesOf lists what is below the roots, those that are there, until it makes
// an archive of enough bytes.
func filesOf(ctx context.Context, roots []string, enough int64) ([]file, error) {
	var files []file
	visit := func(path string, d fs.DirEntry, err error) error {
		if enough <= 0 {
			return fs.SkipAll
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		switch d.Type() {
		case 0, fs.ModeDir, fs.ModeSymlink:
		default:
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{path, info}
		files = append(files, f)
		enough -= f.packed()
		return nil
	}
	for _, root := range roots {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		if err := filepath.WalkDir(root, visit); err != nil {
			return nil, fmt.Errorf("list %s: %w", root, err)
		}
	}
	return files, nil
}

// packLayer writes files as a layer.
func packLayer(ctx context.Context, name string, files []file) (layer, error) {
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return layer{}, err
	}
	defer out.Close()
	z, err := pgzip.NewWriterLevel(out, 6)
	if err != nil {
		return layer{}, err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		if err := errors.Join(ctx.Err(), f.pack(w)); err != nil {
			return layer{}, fmt.Errorf("pack %s: %w", f.path, err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), out.Close()); err != nil {
		return layer{}, err
	}
	return inspect(ctx, name)
}

func (f file) pack(w *tar.Writer) error {
	var target string
	if f.info.Mode().Type() == fs.ModeSymlink {
		var err error
		if target, err = os.Readlink(f.path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(f.info, target)
	if err != nil {
		return err
	}
	h.Name = strings.TrimPrefix(f.path, "/")
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if !f.info.Mode().IsRegular() {
		return nil
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.CopyN(w, in, f.info.Size())
	return err
}

// inspect reads an archive once, for its digests and sizes.
func inspect(ctx context.Context, name string) (layer, error) {
	l := layer{file: name}
	f, err := os.Open(name)
	if err != nil {
		return l, err
	}
	defer f.Close()
	packed, unpacked := digest.SHA256.Digester(), digest.SHA256.Digester()
	z, err := pgzip.NewReader(io.TeeReader(f, packed.Hash()))
	if err != nil {
		return l, fmt.Errorf("%s: %w", name, err)
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
			return l, fmt.Errorf("%s: %w", name, err)
		}
		l.files++
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return l, fmt.Errorf("%s: %w", name, err)
	}
	fi, err := f.Stat()
	if err != nil {
		return l, err
	}
	l.size, l.digest, l.diffID, l.unpacked = fi.Size(), packed.Digest(), unpacked.Digest(), counted.n
	return l, nil
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
