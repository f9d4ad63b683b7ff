package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerOf is a layer with the files of a tree.
func layerOf(dir string) (v1.Layer, error) {
	opener := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(pack(w, dir)) }()
		return r, nil
	}
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression))
}

// writeTar writes a new file, the tar of a tree.
func writeTar(name, dir string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := pack(f, dir); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// pack writes a tree as a tar: in the order of names, owned by root, readable and,
// where a file is a program, executable for all.
func pack(w io.Writer, dir string) error {
	tree, archive := os.DirFS(dir), tar.NewWriter(w)
	err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return packFile(archive, tree, path, info)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func packFile(archive *tar.Writer, tree fs.FS, path string, info fs.FileInfo) error {
	header := &tar.Header{Name: path, ModTime: epoch, Mode: 0o644, Typeflag: tar.TypeReg, Size: info.Size()}
	switch {
	case info.IsDir():
		header.Name, header.Mode, header.Typeflag, header.Size = path+"/", 0o755, tar.TypeDir, 0
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is %s: only files and directories go into an image", path, info.Mode().Type())
	case info.Mode()&0o111 != 0:
		header.Mode = 0o755
	}
	if err := archive.WriteHeader(header); err != nil || info.IsDir() {
		return err
	}
	file, err := tree.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(archive, file)
	return err
}
