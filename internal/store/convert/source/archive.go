package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/stormcell/stormcell/internal/store/convert/compression"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// maxArchiveFiles bounds the index of an archive. An image has a few files
// more than layers.
const maxArchiveFiles = 100_000

// archive is a tar archive of files, which are read in place.
type archive struct {
	file    *os.File
	entries map[string]section
}

// section is where an archived file lies, or the name that it links to.
type section struct {
	offset, size int64
	link         string
}

// openArchive reads the table of an archive; the contents are skipped.
func openArchive(name string) (*archive, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, entries: map[string]section{}}
	if err := a.scan(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

func (a *archive) scan() error {
	var first [4]byte
	n, err := a.file.ReadAt(first[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if kind := compression.Sniff(first[:n]); kind != compression.None {
		return fmt.Errorf("%w: the archive is compressed: unpack it with \"%s -d\" first", manifest.ErrUnsupported, kind)
	}
	in := tar.NewReader(a.file)
	for range maxArchiveFiles {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: not a tar archive, or a damaged one: %w", manifest.ErrMalformed, err)
		}
		// The reader takes whole blocks and no more, so the file now stands
		// at the entry's content.
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		entry := path.Clean("/" + hdr.Name)[1:]
		switch hdr.Typeflag {
		case tar.TypeReg:
			a.entries[entry] = section{offset: offset, size: hdr.Size}
		case tar.TypeSymlink: // old versions of Docker link equal layers
			//nolint:gosec // a key of the same table, never a path of this machine
			a.entries[entry] = section{link: path.Join("/", path.Dir(entry), hdr.Linkname)[1:]}
		case tar.TypeLink:
			a.entries[entry] = section{link: path.Clean("/" + hdr.Linkname)[1:]}
		}
	}
	return fmt.Errorf("%w: the archive has more than %d files", manifest.ErrUnsupported, maxArchiveFiles)
}

// maxLinks is how many links of an archive are followed one after the other.
const maxLinks = 8

func (a *archive) find(name string) (section, error) {
	s, ok := a.entries[name]
	for hops := 0; ok && s.link != "" && hops < maxLinks; hops++ {
		s, ok = a.entries[s.link]
	}
	if !ok || s.link != "" {
		return section{}, fmt.Errorf("%w: %q in the archive", ErrNotFound, name)
	}
	return s, nil
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.file, s.offset, s.size)), nil
}

func (a *archive) Close() error { return a.file.Close() }
