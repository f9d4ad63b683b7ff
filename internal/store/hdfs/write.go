package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// dirMode is that of the original's folders and of its first tag file.
const dirMode fs.FileMode = 0o755

// Bootstrap implements store.Writer.
func (s *Store) Bootstrap(ctx context.Context) error {
	for _, dir := range []string{".", manifest.LayersDir, manifest.ConfigDir, manifest.ManifestsDir, manifest.UnreferencedDir} {
		p := path.Join(s.address.Path, dir)
		if err := s.do(ctx, func(c *hdfs.Client) error { return makeDir(c, p) }); err != nil {
			return err
		}
	}
	if _, err := s.Stat(ctx, manifest.TagFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := s.Replace(ctx, manifest.TagFile, nil, nil, store.CreateOptions{Mode: dirMode})
	if errors.Is(err, store.ErrChanged) {
		return nil // another process has just made it
	}
	return err
}

// makeDir makes a folder and those above it, or leaves the one that is there
// as it is.
func makeDir(c *hdfs.Client, p string) error {
	fi, err := c.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return c.MkdirAll(p, dirMode)
	}
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is not a folder: %w", p, fs.ErrExist)
	}
	return err
}
