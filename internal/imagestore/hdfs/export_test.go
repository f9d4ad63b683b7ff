package hdfs

import (
	"context"
	"time"

	"github.com/stormcell/stormcell/internal/imagestore"
)

// Bid makes a bid for a file as Replace does, up to the moment before the
// rename, which publish does.
func (s *Store) Bid(ctx context.Context, name string, old, content []byte) (publish func() error, err error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	b := &bidder{store: s, name: name, path: p, old: old, seen: make(map[string]time.Time)}
	u, err := b.place(ctx, content, imagestore.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return func() error { return b.win(u) }, nil
}

// ErrFenced is errFenced.
var ErrFenced = errFenced
