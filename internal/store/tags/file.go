package tags

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// settled is the age from which a file's time tells all its changes apart: a
// younger file may change again within one tick of a coarse clock.
const settled = 2 * time.Second

// snapshot is what is known of a tag file at some time.
type snapshot struct {
	// tags are those of the last good read, nil before the first one.
	tags     *manifest.Tags
	warnings []string
	// info is the file's of that read; it is only remembered of good ones.
	info store.Info
	// sure is false if the file could have changed since without a trace in info.
	sure bool
	// checked is when the file was looked at last, and err how that failed.
	checked time.Time
	err     error
}

// cachedFile is a tag file and its last snapshot.
type cachedFile struct {
	file     File
	interval time.Duration
	now      func() time.Time
	flights  *flights[snapshot]

	mu   sync.Mutex
	last snapshot
}

func (c *cachedFile) current() snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// fresh returns a snapshot that is not older than the interval, or an older
// one with the error that kept it from being renewed.
func (c *cachedFile) fresh(ctx context.Context) snapshot {
	old := c.current()
	if !c.due(old) {
		return old
	}
	s, err := c.flights.do(ctx, "", c.refresh)
	if err != nil {
		old.err = fmt.Errorf("look up tags in %s: %w", c.file, err)
		return old
	}
	return s
}

func (c *cachedFile) due(s snapshot) bool { return due(s.checked, s.err, c.now(), c.interval) }

// refresh runs in one goroutine at a time.
func (c *cachedFile) refresh(ctx context.Context) (snapshot, error) {
	s := c.current()
	if !c.due(s) {
		return s, nil // the flight before this one has done it
	}
	s.err = c.read(ctx, &s)
	s.checked = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = s
	return s, nil
}

// read brings s up to date; when it fails it leaves s as it is.
func (c *cachedFile) read(ctx context.Context, s *snapshot) error {
	// Before the content: a change in between is then seen the next time.
	info, err := c.file.Store.Stat(ctx, c.file.Name)
	if err == nil && s.tags != nil && s.sure && info.Size == s.info.Size && info.ModTime.Equal(s.info.ModTime) {
		return nil
	}
	var content []byte
	if err == nil {
		content, err = c.file.Store.ReadFile(ctx, c.file.Name, manifest.MaxTagFileSize)
	}
	if c.file.Optional && missing(err) {
		*s = snapshot{tags: new(manifest.Tags), warnings: []string{"the file is not there"}}
		return nil
	}
	if err != nil {
		return c.explain(overdue(err))
	}
	tags, warnings := manifest.ParseTags(content)
	*s = snapshot{tags: tags, warnings: warnings, info: info, sure: c.now().Sub(info.ModTime) >= settled}
	return nil
}

// missing tells whether a file is missing, alone or with its folder.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrNoRoot)
}

func (c *cachedFile) explain(err error) error {
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("look up tags: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w: is this the right store? \"docker-to-squash --store %s bootstrap\" creates one", ErrUnreadable, err, c.file.Store.URL())
	default:
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
}
