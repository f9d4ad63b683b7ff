package localizer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/imagestore"
)

// errShort is a file of the store that ends before the size it had when it
// was opened.
var errShort = errors.New("it was cut short while it was read")

// source is a file of the store that is opened anew after a failure: what is
// wrong may be with the connection behind the open file.
type source struct {
	l    *Localizer
	name string
	file imagestore.File
}

// readAt fills p, in several tries if it must.
func (s *source) readAt(ctx context.Context, p []byte, off int64) error {
	f := s.file
	return s.l.retry(ctx, func() error {
		if f == nil {
			anew, err := s.l.opts.Store.Open(ctx, s.name)
			if err != nil {
				return err
			}
			defer anew.Close()
			f = anew
		}
		n, err := f.ReadAt(p, off)
		f = nil
		switch {
		case n == len(p):
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: it ends at byte %d", errShort, off+int64(n))
		}
		return fmt.Errorf("read %s at byte %d: %w", s.name, off, err)
	})
}

// chunk is a part of a file on its way.
type chunk struct {
	buffer *[chunkSize]byte
	size   int
	ready  chan struct{} // closed when it has been read and written
}

// copy fills dst from src by reads side by side, and returns the digest of
// what arrived. The hash is computed in the file's order from the chunks in
// memory, so that nothing is read twice.
func (l *Localizer) copy(ctx context.Context, src *source, dst *temp, arrived func(int64)) (digest.Digest, error) {
	group, ctx := errgroup.WithContext(ctx)
	var taken atomic.Int64 // of l.chunks
	order := make(chan chunk, parallelChunks)
	group.Go(func() error {
		defer close(order)
		for off := int64(0); off < dst.size; off += chunkSize {
			// Taken in the file's order: the chunk that the hash waits for
			// never waits for a later one.
			if err := l.chunks.Acquire(ctx, 1); err != nil {
				return err
			}
			taken.Add(1)
			c := chunk{
				buffer: l.buffers.Get().(*[chunkSize]byte), //nolint:errcheck,forcetypeassert // the pool's only type
				size:   int(min(chunkSize, dst.size-off)),
				ready:  make(chan struct{}),
			}
			group.Go(func() error { return c.fill(ctx, src, dst, off) })
			order <- c // never blocks: its room is that of the semaphore
		}
		return nil
	})
	h := sha256.New()
	group.Go(func() error {
		for c := range order {
			select {
			case <-c.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			h.Write(c.buffer[:c.size])
			l.buffers.Put(c.buffer)
			taken.Add(-1)
			l.chunks.Release(1)
			arrived(int64(c.size))
		}
		return nil
	})
	err := group.Wait()
	// What a failure left on its way.
	l.chunks.Release(taken.Load())
	if err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// fill reads the chunk at off and writes it to dst.
func (c chunk) fill(ctx context.Context, src *source, dst *temp, off int64) error {
	p := c.buffer[:c.size]
	if err := src.readAt(ctx, p, off); err != nil {
		return err
	}
	if _, err := dst.WriteAt(p, off); err != nil {
		return dst.cache.explain(err, dst.size)
	}
	close(c.ready)
	return nil
}
