package localizer

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

var (
	entryForm  = regexp.MustCompile(`^(layers/[0-9a-f]{64}\.sqsh|config/[0-9a-f]{64})$`)
	recallForm = regexp.MustCompile(`^layers/[0-9a-f]{64}\.json$`)
)

// open makes the directories of the cache and reads what is there. Everything
// goes through one open directory from then on: whatever becomes of the path,
// no other directory is touched.
func (c *cache) open(ctx context.Context) error {
	root, err := openDir(c.dir)
	if err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(c.dir)
	if err != nil {
		return err
	}
	c.dir, c.root = dir, root
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	var recalls []string
	for _, sub := range []string{layersDir, configDir} {
		found, err := c.scanLocked(ctx, sub)
		if err != nil {
			return err
		}
		recalls = append(recalls, found...)
	}
	for _, name := range recalls {
		if err := c.pruneRecallLocked(name); err != nil {
			return err
		}
	}
	for name := range c.entries {
		if _, half := c.entries[partialOf(name)]; half && name != partialOf(name) {
			if err := c.dropLocked(partialOf(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// openDir makes and opens the directory of a cache with its two folders.
func openDir(dir string) (*os.Root, error) {
	// The directories above belong to Storm, which must get through.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{".", layersDir, configDir} {
		if err := secureDir(root, sub); err != nil {
			root.Close()
			return nil, fmt.Errorf("directory %q: %w", sub, err)
		}
	}
	return root, nil
}

func secureDir(root *os.Root, name string) error {
	if err := root.MkdirAll(name, 0o700); err != nil {
		return err
	}
	fi, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if err := safe(fi); err != nil {
		return fmt.Errorf("%w: its files would be mounted by root; delete it, or set another storm.oci.resources.local.dir", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%w: not a directory", ErrUntrusted)
	}
	return root.Chmod(name, 0o700)
}

// scanLocked notes the files of a folder, deletes those that nobody can
// go on with, and returns the notes of layers without identity.
func (c *cache) scanLocked(ctx context.Context, sub string) (recalls []string, err error) {
	files, err := fs.ReadDir(c.root.FS(), sub)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := sub + "/" + file.Name()
		fi, err := c.root.Lstat(name)
		if err != nil {
			return nil, err
		}
		switch {
		case partialForm.MatchString(name) && fi.Mode().IsRegular() && safe(fi) == nil:
			c.entries[name] = entry{size: fi.Size(), used: fi.ModTime()}
		case strings.HasPrefix(file.Name(), tempPrefix):
			if err := c.root.Remove(name); err != nil {
				return nil, err
			}
		case !fi.Mode().IsRegular(), safe(fi) != nil: // not ours
		case entryForm.MatchString(name):
			c.entries[name] = entry{size: fi.Size(), used: accessTime(fi)}
		case recallForm.MatchString(name):
			recalls = append(recalls, name)
		}
	}
	return recalls, nil
}

func accessTime(fi os.FileInfo) time.Time {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fi.ModTime()
	}
	return time.Unix(st.Atim.Unix())
}

// pruneRecallLocked deletes the note of a layer whose file is gone.
func (c *cache) pruneRecallLocked(name string) error {
	if blob, err := c.readRecall(name); err == nil {
		if _, ok := c.entries[layerName(blob.Digest)]; ok {
			return nil
		}
	}
	return c.dropLocked(name)
}

// recall returns the content that was fetched for a layer that has no identity
// in the store. A file in the store that was replaced by one of another size
// is noticed; one of the same size cannot be told without reading it.
func (c *cache) recall(layer manifest.Layer) (digest.Digest, bool) {
	blob, err := c.readRecall(recallName(layer.Digest))
	if err != nil || blob.Size != layer.Squashfs.Size {
		return "", false
	}
	return blob.Digest, true
}

func (c *cache) readRecall(name string) (manifest.Blob, error) {
	var blob manifest.Blob
	content, err := c.read(name, manifest.MaxIdentitySize)
	if err != nil {
		return blob, err
	}
	if err := json.Unmarshal(content, &blob); err != nil {
		return blob, fmt.Errorf("%s: %w", name, err)
	}
	return blob, manifest.ValidateDigest(blob.Digest)
}

// remember is what recall returns later.
func (c *cache) remember(ctx context.Context, layer digest.Digest, blob manifest.Blob) error {
	content, err := json.Marshal(blob)
	if err != nil {
		return fmt.Errorf("note of layer %s: %w", layer, err)
	}
	return c.write(ctx, recallName(layer), content)
}
