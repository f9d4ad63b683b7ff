package convert

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/convert/compression"
	"github.com/stormcell/stormcell/internal/store/convert/layertar"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// stream is the content of a layer's blob. Both are hashed as they pass.
type stream struct {
	blob    *blobReader
	content io.ReadCloser // nil before the first Read and after close
	closed  bool
	hash    hash.Hash
	want    digest.Digest // of the content
	left    int64         // bytes that may still come
	limit   int64
}

func newStream(ctx context.Context, blob io.Reader, l publish.Layer, limit int64, progress publish.Progress) *stream {
	return &stream{
		blob: &blobReader{
			ctx: ctx, r: blob, want: l.Descriptor, hash: digest.SHA256.Hash(),
			advance: func(n int) { progress.Advance(l.Digest, int64(n)) },
		},
		hash:  digest.SHA256.Hash(),
		want:  l.DiffID,
		left:  limit,
		limit: limit,
	}
}

// Read returns content that has not been verified yet.
func (s *stream) Read(p []byte) (int, error) {
	if s.content == nil {
		content, err := compression.NewReader(s.blob)
		if err != nil {
			return 0, err
		}
		s.content = content
	}
	n, err := s.content.Read(p)
	s.hash.Write(p[:n])
	if s.left -= int64(n); s.left < 0 {
		return n, fmt.Errorf("%w: it unpacks to more than %d bytes: raise --max-unpacked-size if that is meant", publish.ErrLimit, s.limit)
	}
	return n, err
}

// finish reads what is left, of which a tar archive's end mark may have hidden
// some, and verifies everything.
func (s *stream) finish() error {
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{s}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("read to the end: %w", err)
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("read to the end: %w", err)
	}
	if err := s.blob.drain(); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, s.hash); got != s.want {
		return fmt.Errorf("%w: its content hashes to %s, the image config says %s", manifest.ErrDigestMismatch, got, s.want)
	}
	return nil
}

// diagnose finds the cause of an error in the content: where the blob is not
// what the manifest says, that is the one to tell.
func (s *stream) diagnose(err error) error {
	known := errors.Is(err, manifest.ErrDigestMismatch) || errors.Is(err, publish.ErrLimit) || errors.Is(err, layertar.ErrTooLarge)
	if known || s.blob.ctx.Err() != nil {
		return errors.Join(err, s.close())
	}
	_ = s.close() // it repeats err
	if drained := s.blob.drain(); errors.Is(drained, manifest.ErrDigestMismatch) {
		return fmt.Errorf("%w (noticed as: %w)", drained, err)
	}
	return err
}

// close ends the reading ahead; nothing reads the blob then.
func (s *stream) close() error {
	if s.content == nil || s.closed {
		return nil
	}
	s.closed = true
	return s.content.Close()
}

// blobReader reads a blob, and at its end verifies it: instead of io.EOF it
// returns an error that wraps manifest.ErrDigestMismatch.
type blobReader struct {
	ctx     context.Context //nolint:containedctx // reading stops when the conversion does
	r       io.Reader
	want    manifest.Descriptor
	hash    hash.Hash
	n       int64
	err     error // of the end, kept for later reads
	advance func(n int)
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	b.n += int64(n)
	b.advance(n)
	switch {
	case b.n > b.want.Size:
		b.err = fmt.Errorf("%w: the blob is longer than the %d bytes of the manifest", manifest.ErrDigestMismatch, b.want.Size)
	case errors.Is(err, io.EOF):
		b.err = b.verify()
	default:
		b.err = err
	}
	return n, b.err
}

func (b *blobReader) verify() error {
	if b.n < b.want.Size {
		return fmt.Errorf("%w: the blob ends after %d of %d bytes", manifest.ErrDigestMismatch, b.n, b.want.Size)
	}
	if got := digest.NewDigest(digest.SHA256, b.hash); got != b.want.Digest {
		return fmt.Errorf("%w: the blob hashes to %s", manifest.ErrDigestMismatch, got)
	}
	return io.EOF
}

// drain reads the blob to its end and returns what is wrong with it.
func (b *blobReader) drain() error {
	_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{b}, make([]byte, 256<<10))
	return err
}
