package localizer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

const (
	// segmentSize is the number of bytes that are read of a file one after the
	// other, by one reader: in a distributed store, each begin of a reading
	// costs a connection.
	segmentSize = 16 << 20
	// segmentsPerFile and parallelSegments are how many segments are read side
	// by side of one file, and of all.
	segmentsPerFile  = 4
	parallelSegments = 8
	// pieceSize is the number of bytes of one read of the store, and of one
	// write to the disk. Times parallelSegments, it bounds the memory that
	// fetching takes.
	pieceSize = 1 << 20
	// hashSize is the number of bytes that are hashed at once: few enough to
	// stay in a core's cache.
	hashSize = 256 << 10
)

// copy fills dst from src, by segments side by side, and returns the digest of
// what dst then holds. What an earlier try has left there is not read again.
//
// The hash follows in the file's order, and reads what was just written back
// from the page cache: that is cheap, it keeps no buffers waiting for their
// turn, and it hashes what is in the file, whoever wrote it.
func (l *Localizer) copy(ctx context.Context, src *source, dst *partial, arrived func(int64)) (digest.Digest, error) {
	group, ctx := errgroup.WithContext(ctx)
	front := newFront(dst)
	group.Go(func() error {
		readers, ctx := errgroup.WithContext(ctx)
		readers.SetLimit(segmentsPerFile)
		for i := range front.until {
			readers.Go(func() error { return l.fill(ctx, src, dst, front, i) })
		}
		return readers.Wait()
	})
	var d digest.Digest
	group.Go(func() (err error) {
		d, err = hash(ctx, dst, front, arrived)
		return err
	})
	return d, group.Wait()
}

// fill brings what is missing of segment i.
func (l *Localizer) fill(ctx context.Context, src *source, dst *partial, front *front, i int) error {
	off, end := front.gap(i)
	if off == end {
		return nil
	}
	if err := l.segments.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.segments.Release(1)
	buffer := l.buffers.Get().(*[pieceSize]byte) //nolint:errcheck,forcetypeassert // the pool's only type
	defer l.buffers.Put(buffer)
	for off < end {
		p := buffer[:min(pieceSize, end-off)]
		if err := src.fill(ctx, p, off); err != nil {
			return err
		}
		if err := dst.put(ctx, p, off); err != nil {
			return err
		}
		off += int64(len(p))
		front.advance(i, off)
	}
	return nil
}

// hash returns the digest of dst, as fast as its bytes come.
func hash(ctx context.Context, dst *partial, front *front, arrived func(int64)) (digest.Digest, error) {
	h := sha256.New()
	buffer := make([]byte, hashSize)
	for off := int64(0); off < dst.size; {
		until, err := front.wait(ctx, off)
		if err != nil {
			return "", err
		}
		p := buffer[:min(hashSize, until-off)]
		if _, err := dst.ReadAt(p, off); err != nil {
			return "", fmt.Errorf("layer cache %s: read back: %w", dst.cache.dir, err)
		}
		h.Write(p)
		off += int64(len(p))
		arrived(int64(len(p)))
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// front tells how far each segment of a file has come.
type front struct {
	size int64
	// news gets a token when there is more.
	news chan struct{}

	mu    sync.Mutex
	until []int64 // by segment: from its start to here it is there
}

// newFront begins with what is in p.
func newFront(p *partial) *front {
	f := &front{size: p.size, news: make(chan struct{}, 1)}
	for start := int64(0); start < p.size; start += segmentSize {
		f.until = append(f.until, min(p.written(start), start+segmentSize, p.size))
	}
	return f
}

// gap is what is missing of segment i.
func (f *front) gap(i int) (from, to int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until[i], min(int64(i+1)*segmentSize, f.size)
}

// advance notes that segment i is there up to until.
func (f *front) advance(i int, until int64) {
	f.mu.Lock()
	f.until[i] = until
	f.mu.Unlock()
	select {
	case f.news <- struct{}{}:
	default: // a token is there already
	}
}

// wait waits until the byte at off is there, and returns the end of those that
// are there after it in its segment. Only one may wait.
func (f *front) wait(ctx context.Context, off int64) (int64, error) {
	for {
		f.mu.Lock()
		until := f.until[off/segmentSize]
		f.mu.Unlock()
		if err := ctx.Err(); err != nil || until > off {
			return until, err
		}
		select {
		case <-f.news:
		case <-ctx.Done():
		}
	}
}
