// Package tagfile changes the tag file of an image store so that no change of
// another writer is ever lost.
package tagfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// ErrNoStore is a store without its tag file: one that was never set up.
var ErrNoStore = errors.New("the store is not set up")

// File is the tag file of a store.
type File struct {
	Store store.Writer
	Name  string
	// Options say how the file is kept.
	Options store.CreateOptions
}

// Check fails where the store is not there: with its tag file, a store has
// everything that Bootstrap makes.
func (f File) Check(ctx context.Context) error {
	_, err := f.Store.Stat(ctx, f.Name)
	return f.explain(err)
}

// explain says what to do about a store that is not set up.
func (f File) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s has no file %s: run with --bootstrap once", ErrNoStore, f.Store.URL(), f.Name)
	case errors.Is(err, store.ErrNoRoot):
		return fmt.Errorf("%w (--bootstrap creates a new store)", err)
	case err != nil:
		return fmt.Errorf("read the tag file: %w", err)
	default:
		return nil
	}
}

// Read returns the tags and what is wrong with lines of the file. A store
// without one is ErrNoStore.
func (f File) Read(ctx context.Context) (tags *manifest.Tags, warnings []string, err error) {
	content, err := f.Store.ReadFile(ctx, f.Name, manifest.MaxTagFileSize)
	if err != nil {
		return nil, nil, f.explain(err)
	}
	tags, warnings = manifest.ParseTags(content)
	return tags, warnings, nil
}

// Bootstrap makes the store and its tag file where they are not there yet.
func (f File) Bootstrap(ctx context.Context) error {
	if err := f.Store.Bootstrap(ctx); err != nil || f.Name == manifest.TagFile {
		return err
	}
	err := f.Store.Replace(ctx, f.Name, nil, nil, f.Options)
	if errors.Is(err, store.ErrChanged) {
		return nil // it is there
	}
	return err
}

// Update changes the tags. If another writer was faster, Update reads its changes and
// calls change again, so change must depend on its argument only. It returns the
// malformed lines of the old file, which the new one does not have. If change changes
// nothing, nothing is written.
func (f File) Update(ctx context.Context, change func(*manifest.Tags) error) (warnings []string, err error) {
	for {
		old, err := f.content(ctx)
		if err != nil {
			return nil, err
		}
		tags, warnings := manifest.ParseTags(old)
		before := tags.Format()
		if err := change(tags); err != nil {
			return nil, err
		}
		content := tags.Format()
		if bytes.Equal(content, before) {
			return nil, nil
		}
		err = f.Store.Replace(ctx, f.Name, old, content, f.Options)
		if errors.Is(err, store.ErrChanged) && ctx.Err() == nil {
			continue // some writer has made progress each time
		}
		if err != nil {
			return nil, fmt.Errorf("write the tag file: %w", err)
		}
		return warnings, nil
	}
}

// content returns the file's content, nil if it has vanished.
func (f File) content(ctx context.Context) ([]byte, error) {
	content, err := f.Store.ReadFile(ctx, f.Name, manifest.MaxTagFileSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tag file: %w", err)
	}
	if content == nil {
		content = []byte{} // empty, but there
	}
	return content, nil
}
