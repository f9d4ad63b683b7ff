package localizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/stormcell/stormcell/internal/imagestore"
)

// errShort is a file of the store that ends before the size it had when it
// was opened.
var errShort = errors.New("it was cut short while it was read")

// source is an open file of the store that holds a layer.
type source struct {
	imagestore.File
	l    *Localizer
	name string
}

// openSource opens a layer's file, in several tries if it must.
func (l *Localizer) openSource(ctx context.Context, name string) (*source, error) {
	s := &source{l: l, name: name}
	err := l.retry(ctx, func() (err error) {
		s.File, err = s.open(ctx)
		return err
	})
	return s, err
}

func (s *source) open(ctx context.Context) (imagestore.File, error) {
	f, err := s.l.opts.Store.Open(ctx, s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", imagestore.ErrLayerMissing, err)
	}
	return f, err
}

// stream reads a part of a source from front to back. After a failure it goes
// on with a file of its own: what is wrong may be with what is behind the
// source's, and other streams may be content with that.
type stream struct {
	*source
	own    imagestore.File
	failed bool
}

// readAt fills p, in several tries if it must; what one has brought stays.
func (s *stream) readAt(ctx context.Context, p []byte, off int64) error {
	return s.l.retry(ctx, func() error {
		f, err := s.file(ctx)
		if err != nil {
			return err
		}
		n, err := f.ReadAt(p, off)
		p, off = p[n:], off+int64(n)
		switch {
		case len(p) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: it ends at byte %d", errShort, off)
		}
		s.close()
		s.failed = true
		return fmt.Errorf("read %s at byte %d: %w", s.name, off, err)
	})
}

// file returns what to read from.
func (s *stream) file(ctx context.Context) (imagestore.File, error) {
	if s.own != nil {
		return s.own, nil
	}
	if !s.failed {
		return s.File, nil
	}
	f, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.own = f
	return f, nil
}

// close closes the stream's own file, not the source's.
func (s *stream) close() {
	if s.own != nil {
		s.own.Close()
		s.own = nil
	}
}
