// Package compression reads layer blobs of any supported compression.
package compression

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// maxWindow bounds the memory that a zstd frame may ask for. It is what the
// zstd program accepts unless told otherwise.
const maxWindow = 128 << 20

// The first bytes of compressed files (RFC 1952, RFC 8878). A zstd file may
// begin with a skippable frame, whose first byte varies.
var (
	gzipMagic      = []byte{0x1f, 0x8b}
	zstdMagic      = []byte{0x28, 0xb5, 0x2f, 0xfd}
	skippableMagic = []byte{0x2a, 0x4d, 0x18}
)

// Kind is how a blob is compressed.
type Kind string

// The kinds of compression that image layers have.
const (
	None Kind = "none"
	Gzip Kind = "gzip"
	Zstd Kind = "zstd"
)

// Sniff returns the kind of a blob by its first four bytes, or all if it has fewer.
// It ignores media types, since those of some registries are wrong.
func Sniff(first []byte) Kind {
	switch {
	case bytes.HasPrefix(first, gzipMagic):
		return Gzip
	case bytes.HasPrefix(first, zstdMagic),
		len(first) >= 4 && first[0]&0xf0 == 0x50 && bytes.Equal(first[1:4], skippableMagic):
		return Zstd
	default:
		return None
	}
}

// NewReader returns the content of the blob r. Reading ahead, it may use a
// second CPU. The caller closes it, which does not close r.
func NewReader(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	first, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) { // short blobs are no error here
		return nil, fmt.Errorf("read: %w", err)
	}
	switch Sniff(first) {
	case Gzip:
		z, err := pgzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return z, nil
	case Zstd:
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	default:
		return io.NopCloser(buffered), nil
	}
}
