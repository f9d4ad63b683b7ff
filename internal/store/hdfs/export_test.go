package hdfs

import (
	"context"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/store"
)

// Bid makes a bid for a file as Replace does, up to the moment before the
// rename, which publish does.
func (s *Store) Bid(ctx context.Context, name string, old, content []byte) (publish func() error, err error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	b := &bidder{store: s, name: name, path: p, old: old, seen: make(map[string]time.Time)}
	u, err := b.place(ctx, content, store.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return func() error { return b.win(u) }, nil
}

// ErrFenced is errFenced.
var ErrFenced = errFenced

// NameNodes are the addresses that a configuration gives for the authority of
// a URL.
func NameNodes(confDir, host string) ([]string, error) {
	c, err := readCluster(confDir, host)
	if err != nil {
		return nil, err
	}
	return c.options.Addresses, nil
}

// Principal is choosePrincipal on names with realms.
func Principal(wanted, host string, held ...string) (string, error) {
	var all []principal
	for _, h := range held {
		name, realm, _ := strings.Cut(h, "@")
		all = append(all, principal{name, realm})
	}
	p, err := choosePrincipal(wanted, "DEFAULT", host, all)
	return p.String(), err
}

// Refusal is parseRefusal.
func Refusal(header []byte) error {
	if r := parseRefusal(header); r != nil {
		return r
	}
	return nil
}

// DeadUploads is deadUploads.
var DeadUploads = deadUploads

// Left is left.
const Left = left

// IdleStreams is how many idle streams an open file keeps.
func IdleStreams(f store.File) int {
	own := f.(*file)
	own.mu.Lock()
	defer own.mu.Unlock()
	return len(own.idle)
}

// ReadCache is readCache, for caches of at most MaxCache bytes.
var ReadCache = readCache

// MaxCache is maxCache.
const MaxCache = maxCache
