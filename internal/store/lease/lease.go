// Package lease is the lock of an image store between programs that publish images and
// programs that delete files.
//
// A publisher holds the lock while it checks that an image is complete and sets its
// tags; a remover while it finds what is referenced and deletes the rest. So no layer is
// deleted between the check and the setting of the tag.
//
// The lock is a small file that names its holder and is written by compare-and-swap, so
// it works in every store. The holder renews it. A lock that does not change for the
// time Expiry, by the clock of the waiting process, is taken over; then the next renewal
// of a holder that was only stopped fails. On the holder's own machine, the lock of a
// process that has ended is void at once.
package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
)

// File is the name of the lock's file in the root of a store. It stays there
// and is empty while nobody holds the lock.
const File = "image-lock"

const (
	// Expiry is how long a lock lives that is not renewed.
	Expiry = 90 * time.Second
	// A renewal takes at most actTimeout, and so does what is done after it,
	// which begins at most renewAfter later: all is over long before Expiry. A
	// store may take this long where another writer of the lock has died.
	renewAfter = 10 * time.Second
	actTimeout = 30 * time.Second
	// poll is how often a waiting process looks.
	poll = 250 * time.Millisecond

	maxSize = 4 << 10
)

// ErrLost is a lock that was taken over because it was not renewed in time.
var ErrLost = errors.New("the store's lock was lost to another process")

// Lease is a held lock. Its methods must not be called side by side.
type Lease struct {
	store   store.Writer
	holder  holder
	content []byte // of the file
	renewed time.Time
	now     time.Time
}

// Do runs act while it holds the lock of store. It waits for another holder;
// waiting, if not nil, receives the holder once.
func Do(ctx context.Context, store store.Writer, waiting func(holder string), act func(*Lease) error) error {
	l, err := acquire(ctx, store, waiting)
	if err != nil {
		return fmt.Errorf("lock store %s: %w", store.URL(), err)
	}
	err = act(l)
	return errors.Join(err, l.release(ctx))
}

// acquire takes the lock once it is free.
func acquire(ctx context.Context, writer store.Writer, waiting func(holder string)) (*Lease, error) {
	l := &Lease{store: writer, holder: self()}
	var seen watch
	for {
		old, err := read(ctx, writer)
		if err != nil {
			return nil, err
		}
		if !seen.taken(old, time.Now()) {
			err := l.write(ctx, old)
			if err == nil {
				return l, l.readClock(ctx)
			}
			if !errors.Is(err, store.ErrChanged) {
				return nil, err
			}
			continue
		}
		if waiting != nil {
			waiting(holderOf(old).String())
			waiting = nil
		}
		if err := backoff.Wait(ctx, poll); err != nil {
			return nil, err
		}
	}
}

// watch is what a waiting process has seen of the lock.
type watch struct {
	content []byte
	since   time.Time
}

// taken tells whether a living process holds the lock of that content.
func (w *watch) taken(content []byte, now time.Time) bool {
	if len(content) == 0 || holderOf(content).dead() {
		return false
	}
	if !bytes.Equal(content, w.content) {
		w.content, w.since = content, now
	}
	return now.Sub(w.since) < Expiry
}

func read(ctx context.Context, store store.Writer) ([]byte, error) {
	content, err := store.ReadFile(ctx, File, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && content == nil {
		content = []byte{} // empty, but there
	}
	return content, err
}

// write swaps the lock's content, which must be old, for ours.
func (l *Lease) write(ctx context.Context, old []byte) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	began := time.Now()
	l.holder.Renewal++
	content, err := json.Marshal(l.holder)
	if err != nil {
		return fmt.Errorf("describe the lock's holder: %w", err)
	}
	if err := l.store.Replace(ctx, File, old, content, options); err != nil {
		return err
	}
	l.content, l.renewed = content, began
	return nil
}

// options let other users of the store read who holds the lock.
var options = store.CreateOptions{Mode: 0o644}

func (l *Lease) readClock(ctx context.Context) error {
	info, err := l.store.Stat(ctx, File)
	l.now = info.ModTime
	return err
}

// Now is the time of the store's own clock at which the lock was taken.
func (l *Lease) Now() time.Time { return l.now }

// Act runs one short change of the store if the lock is still held. The change, or its
// context, ends long before the lock expires.
func (l *Lease) Act(ctx context.Context, change func(context.Context) error) error {
	if time.Since(l.renewed) > renewAfter {
		err := l.write(ctx, l.content)
		if errors.Is(err, store.ErrChanged) {
			return fmt.Errorf("%w: run the command again", ErrLost)
		}
		if err != nil {
			return fmt.Errorf("renew the store's lock: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	return change(ctx)
}

// release gives the lock back, also after ctx has ended.
func (l *Lease) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actTimeout)
	defer cancel()
	err := l.store.Replace(ctx, File, l.content, nil, options)
	if err == nil || errors.Is(err, store.ErrChanged) {
		return nil // if it was lost, it is another's
	}
	return fmt.Errorf("unlock store %s: %w", l.store.URL(), err)
}

func self() holder {
	h := thisProcess()
	h.ID = rand.Text()
	return h
}
