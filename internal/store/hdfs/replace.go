package hdfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
)

const (
	// courtesy is how long a writer waits for each one that came before it. One
	// that takes longer is taken for dead.
	courtesy = 10 * time.Second
	// turn is how long it waits at most between two looks, and turnJitter the
	// share of that which is left to chance.
	turn       = 30 * time.Millisecond
	turnJitter = 2. / 3
)

// errFenced is a bid that another writer has removed.
var errFenced = errors.New("another writer took the turn")

// Replace implements store.Writer.
//
// HDFS has neither a compare-and-swap nor a lock that ends with its holder, so
// writers fence each other. Each first makes a bid, which is its new content
// in a file of its own beside the target, and then
//
//  1. lists the bids for the target and removes all others;
//  2. reads the target, and stops unless it has the old content;
//  3. renames its bid to the target, which fails if the bid is gone.
//
// No update is lost. Let A and B both succeed with 3, A first; the NameNode
// does one thing after another. B's bid was there at B's rename, so A had not
// removed it, so it was made after A's listing. So B's listing was later than
// A's, and A's bid was there from before A's listing until A's rename. If B
// listed before A's rename, then B removed A's bid before it read, and A can
// only have been faster: A renamed before B read. If B listed after A's rename,
// B read after it, too. Either way B read what A had written, and renamed only
// if that was what B's caller wanted to replace. It does not matter how long a
// writer sleeps between two steps, how late the NameNode hears of one, or
// whether a writer dies: all that is left of it is a bid, which the next one
// removes.
//
// So that writers do not remove each other's bids for ever, each lets those
// that came before it go first, for a while.
func (s *Store) Replace(ctx context.Context, name string, old, content []byte, opts store.CreateOptions) error {
	p, err := s.path(name)
	if err != nil {
		return err
	}
	b := &bidder{store: s, name: name, path: p, old: old, seen: make(map[string]time.Time)}
	for {
		err := b.bid(ctx, content, opts)
		if !errors.Is(err, errFenced) {
			return err
		}
	}
}

// bidder is a Replace under way.
type bidder struct {
	store *Store
	// name is that of the target, path where it lies in HDFS.
	name, path string
	old        []byte
	// seen is when other bids were first seen.
	seen map[string]time.Time
}

// bid makes one attempt.
func (b *bidder) bid(ctx context.Context, content []byte, opts store.CreateOptions) error {
	u, err := b.place(ctx, content, opts)
	if err != nil {
		return err
	}
	return b.win(u)
}

// place makes a bid and does what comes before the rename.
func (b *bidder) place(ctx context.Context, content []byte, opts store.CreateOptions) (_ *upload, retErr error) {
	if err := b.await(ctx, ""); err != nil {
		return nil, err
	}
	// No need to write where the target has changed already.
	if err := b.compare(ctx); err != nil {
		return nil, err
	}
	u, err := b.store.create(ctx, b.path, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			u.Abort()
		}
	}()
	if _, err := u.Write(content); err != nil {
		return nil, err
	}
	if err := u.complete(); err != nil {
		return nil, err
	}
	own := bidPrefix + path.Base(b.path) + "." + rand.Text()
	if err := u.rename(path.Join(path.Dir(b.path), own)); err != nil {
		return nil, err
	}
	if err := b.await(ctx, own); err != nil {
		return nil, err
	}
	return u, b.compare(ctx)
}

// win renames the bid to the target.
func (b *bidder) win(u *upload) error {
	err := u.publish()
	if err != nil {
		u.Abort()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errFenced
	}
	return err
}

// compare returns nil if the target has the old content, ErrChanged if not.
func (b *bidder) compare(ctx context.Context) error {
	// A longer file has changed, so there is no need to read it.
	current, err := b.store.ReadFile(ctx, b.name, int64(len(b.old)))
	switch {
	case errors.Is(err, fs.ErrNotExist) && b.old == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrTooLarge),
		err == nil && (b.old == nil || !bytes.Equal(current, b.old)):
		return fmt.Errorf("store %s: %s: %w", b.store.URL(), b.name, store.ErrChanged)
	}
	return err
}

// await waits for the writers whose bids came before ours, and then removes
// all other bids. Without a bid of our own, all came before, and none is
// removed.
func (b *bidder) await(ctx context.Context, own string) error {
	for {
		others, mine, err := b.list(ctx, own)
		if err != nil {
			return err
		}
		if b.mayGo(others, mine) {
			if own == "" {
				return nil
			}
			return b.fence(ctx, others)
		}
		if err := backoff.Wait(ctx, backoff.Jitter(turn, turnJitter)); err != nil {
			return fmt.Errorf("store %s: wait for another writer of %s: %w", b.store.URL(), b.name, err)
		}
	}
}

// list returns the other bids for the target, and ours.
func (b *bidder) list(ctx context.Context, own string) (others []os.FileInfo, mine os.FileInfo, err error) {
	found, err := b.store.readDir(ctx, path.Dir(b.name))
	if err != nil {
		return nil, nil, err
	}
	for _, fi := range found {
		switch {
		case fi.Name() == own:
			mine = fi
		case strings.HasPrefix(fi.Name(), bidPrefix+path.Base(b.name)+"."):
			others = append(others, fi)
		}
	}
	if own != "" && mine == nil {
		return nil, nil, errFenced
	}
	return others, mine, nil
}

// mayGo tells whether nobody is before us whom we should wait for.
func (b *bidder) mayGo(others []os.FileInfo, mine os.FileInfo) bool {
	now := time.Now()
	may := true
	for _, o := range others {
		first, known := b.seen[o.Name()]
		if !known {
			first, b.seen[o.Name()] = now, now
		}
		if (mine == nil || before(o, mine)) && now.Sub(first) < courtesy {
			may = false
		}
	}
	return may
}

// before orders bids by their times, which are the NameNode's.
func before(a, b os.FileInfo) bool {
	if !a.ModTime().Equal(b.ModTime()) {
		return a.ModTime().Before(b.ModTime())
	}
	return a.Name() < b.Name()
}

// fence removes bids, which cannot be renamed to the target then.
func (b *bidder) fence(ctx context.Context, bids []os.FileInfo) error {
	for _, fi := range bids {
		if err := b.store.discard(ctx, path.Join(path.Dir(b.path), fi.Name())); err != nil {
			return err
		}
	}
	return nil
}
