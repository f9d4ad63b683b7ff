package localizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/stormcell/stormcell/internal/store"
)

// errShort is a file of the store that ends before the size it had when it
// was opened.
var errShort = errors.New("it was cut short while it was read")

// source is an open file of the store that holds a layer. It is never opened
// anew in the middle: that might be another file.
type source struct {
	store.File
	l    *Localizer
	name string
}

// openSource opens a layer's file, in several tries if it must.
func (l *Localizer) openSource(ctx context.Context, name string) (*source, error) {
	s := &source{l: l, name: name}
	err := l.retry(ctx, func() (err error) {
		s.File, err = l.opts.Store.Open(ctx, name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", store.ErrLayerMissing, err)
	}
	return s, err
}

// fill reads p from off on, in several tries if it must; what one of them has
// brought stays.
func (s *source) fill(ctx context.Context, p []byte, off int64) error {
	return s.l.retry(ctx, func() error {
		n, err := s.ReadAt(p, off)
		s.l.opts.Observer.Arrived(n)
		p, off = p[n:], off+int64(n)
		switch {
		case len(p) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: it ends at byte %d", errShort, off)
		}
		return fmt.Errorf("read %s at byte %d: %w", s.name, off, err)
	})
}
