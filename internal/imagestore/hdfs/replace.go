package hdfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"time"


	"github.com/stormcell/stormcell/internal/imagestore"
)

const (
	// courtesy is how long a writer waits for one that came before it. A
	// writer that does nothing for longer is taken for dead.
	courtesy = 10 * time.Second
	// turn is how long it waits between two looks.
	turn = 20 * time.Millisecond
)

// errFenced is a bid that another writer has removed.
var errFenced = errors.New("another writer took the turn")

// Replace implements imagestore.Writer.
//
// HDFS has neither a compare-and-swap nor a lock that goes with its holder, so
// writers fence each other. Each first writes a bid, which is its new content
// in a file of its own beside the target, and then
//
//  1. lists the bids of the target and removes all others;
//  2. reads the target, and gives up unless it has the old content;
//  3. renames its bid to the target, which fails if the bid is gone.
//
// No update is lost. Let A and B both rename, A first, and let A's listing be
// LA, its reading RA, and so on; the NameNode does one thing after another.
// B's bid was there at its rename, so A did not remove it, so B made it after
// LA, so LB comes after LA, while A's bid was there. If LB came before A's
// rename, then B removed A's bid (before RB), which A can only have outrun, so
// A's rename was before RB. If LB came after A's rename, RB did too. Either
// way B read what A had written, and did not rename unless that was what it
// wanted to replace. It does not matter how long a writer sleeps between two
// steps, nor that it dies: all that is left of it is a bid, which the next one
// removes.
//
// So that two writers do not remove each other's bids for ever, each lets
// those that came before it go first, for a while.
func (s *Store) Replace(ctx context.Context, name string, old, content []byte, opts imagestore.CreateOptions) error {
	p, err := s.path(name)
	if err != nil {
		return err
	}
	for {
		// No need to bid where the target has changed already.
		if err := s.compare(ctx, name, old); err != nil {
			return err
		}
		err := s.bid(ctx, name, p, old, content, opts)
		if !errors.Is(err, errFenced) {
			return err
		}
		if err := wait(ctx, jitter(turn)); err != nil {
			return err
		}
	}
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // no secret
}

// compare returns nil if the file has the old content, ErrChanged if not.
func (s *Store) compare(ctx context.Context, name string, old []byte) error {
	// A longer file has changed, so there is no need to read it.
	current, err := s.ReadFile(ctx, name, int64(len(old)))
	switch {
	case errors.Is(err, fs.ErrNotExist) && old == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, imagestore.ErrTooLarge),
		err == nil && (old == nil || !bytes.Equal(current, old)):
		return fmt.Errorf("store %s: %s: %w", s.URL(), name, imagestore.ErrChanged)
	}
	return err
}

// bid makes one attempt of Replace.
func (s *Store) bid(ctx context.Context, name, p string, old, content []byte, opts imagestore.CreateOptions) (retErr error) {
	u, err := s.create(ctx, p, bidPrefix, opts)
	if err != nil {
		return err
	}
	defer u.Abort()
	if _, err := u.Write(content); err != nil && len(content) > 0 {
		return err
	}
	if err := u.complete(); err != nil {
		return s.fenced(err)
	}
	defer func() {
		if retErr != nil {
			u.remove()
		}
	}()
	if err := s.outrun(ctx, name, u.temp); err != nil {
		return err
	}
	if err := s.compare(ctx, name, old); err != nil {
		return err
	}
	return s.fenced(u.rename())
}

// fenced tells a bid that is gone from other errors.
func (s *Store) fenced(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errFenced
	}
	return err
}

// outrun waits for the writers that bid before us, and then removes all other
// bids for the file.
func (s *Store) outrun(ctx context.Context, name, own string) error {
	start := time.Now()
	for {
		rivals, first, err := s.rivals(ctx, name, path.Base(own))
		if err != nil {
			return err
		}
		if !first && time.Since(start) < courtesy {
			if err := wait(ctx, jitter(turn)); err != nil {
				return err
			}
			continue
		}
		for _, r := range rivals {
			if err := s.discard(ctx, path.Join(path.Dir(own), r)); err != nil {
				return err
			}
		}
		return nil
	}
}

// rivals lists the other bids for a file, and tells whether ours was first.
func (s *Store) rivals(ctx context.Context, name, own string) (rivals []string, first bool, err error) {
	found, err := s.readDir(ctx, path.Dir(name))
	if err != nil {
		return nil, false, err
	}
	var mine os.FileInfo
	var others []os.FileInfo
	for _, fi := range found {
		switch {
		case fi.Name() == own:
			mine = fi
		case strings.HasPrefix(fi.Name(), bidPrefix+path.Base(name)+"."):
			others = append(others, fi)
			rivals = append(rivals, fi.Name())
		}
	}
	if mine == nil {
		return nil, false, errFenced
	}
	first = true
	for _, o := range others {
		if before(o, mine) {
			first = false
		}
	}
	return rivals, first, nil
}

// before orders bids by their times, which are the NameNode's.
func before(a, b os.FileInfo) bool {
	if !a.ModTime().Equal(b.ModTime()) {
		return a.ModTime().Before(b.ModTime())
	}
	return a.Name() < b.Name()
}

