package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/manifest"
)

// tag gives the published images their tags. Where another writer was faster,
// its changes are read and kept. It returns what is wrong with lines of the
// old file, which the new one does not have.
func (c *Converter) tag(ctx context.Context, images []Result) ([]string, error) {
	for {
		old, err := c.readTags(ctx)
		if err != nil {
			return nil, err
		}
		tags, warnings := manifest.ParseTags(old)
		for _, image := range images {
			for _, t := range image.Tags {
				if err := tags.Set(t, image.ManifestDigest); err != nil {
					return nil, err
				}
			}
			tags.AddComment(image.ManifestDigest, image.Image)
		}
		content := tags.Format()
		if bytes.Equal(content, old) {
			return nil, nil
		}
		err = c.Store.Replace(ctx, c.Options.TagFile, old, content, c.createOptions())
		if errors.Is(err, imagestore.ErrChanged) && ctx.Err() == nil {
			continue // some writer has made progress each time
		}
		if err != nil {
			return nil, fmt.Errorf("write the tag file: %w", err)
		}
		return warnings, nil
	}
}

// readTags returns the tag file's content, nil if it has vanished.
func (c *Converter) readTags(ctx context.Context) ([]byte, error) {
	content, err := c.Store.ReadFile(ctx, c.Options.TagFile, manifest.MaxTagFileSize)
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
