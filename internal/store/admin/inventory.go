package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// inventory is what a store holds, as it was read once.
type inventory struct {
	tags      *manifest.Tags
	tagErrors []string // lines of the tag file
	manifests map[digest.Digest]stored
	markers   map[digest.Digest]store.Info
	// strays are files whose names are none of the layout's.
	strays []string
}

// stored is a manifest in the store.
type stored struct {
	store.Info
	manifest *manifest.Manifest
	// err tells why the manifest is not known.
	err error
}

// take reads the tag file, all manifests and the markers.
func (c *Curator) take(ctx context.Context) (*inventory, error) {
	inv := &inventory{manifests: map[digest.Digest]stored{}, markers: map[digest.Digest]store.Info{}}
	// The tags before the manifests: an image that is published meanwhile then
	// has no tag without its manifest.
	var err error
	if inv.tags, inv.tagErrors, err = c.tags().Read(ctx); err != nil {
		return nil, err
	}
	files, err := c.list(ctx, manifest.ManifestsDir)
	if err != nil {
		return nil, err
	}
	if inv.manifests, err = c.readManifests(ctx, inv.named(manifest.ManifestsDir, files)); err != nil {
		return nil, err
	}
	markers, err := c.list(ctx, manifest.UnreferencedDir)
	if err != nil {
		return nil, err
	}
	inv.markers = inv.named(manifest.UnreferencedDir, markers)
	return inv, nil
}

func (c *Curator) list(ctx context.Context, dir string) ([]store.Entry, error) {
	files, err := c.Store.List(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("list %s of store %s: %w", dir, c.Store.URL(), err)
	}
	return files, nil
}

// named sorts the files out whose names are digests.
func (inv *inventory) named(dir string, files []store.Entry) map[digest.Digest]store.Info {
	found := map[digest.Digest]store.Info{}
	for _, f := range files {
		d := digest.NewDigestFromEncoded(digest.SHA256, f.Name)
		if manifest.ValidateDigest(d) != nil {
			inv.strays = append(inv.strays, dir+"/"+f.Name)
			continue
		}
		found[d] = f.Info
	}
	return found
}

func (c *Curator) readManifests(ctx context.Context, files map[digest.Digest]store.Info) (map[digest.Digest]stored, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(documentsAtOnce)
	var lock sync.Mutex
	manifests := map[digest.Digest]stored{}
	for d, info := range files {
		group.Go(func() error {
			m := stored{Info: info}
			content, err := c.Store.ReadFile(groupCtx, manifest.ManifestFile(d), manifest.MaxManifestSize)
			if err == nil {
				m.manifest, err = manifest.Parse(content, d)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was deleted meanwhile
			}
			if errors.Is(err, store.ErrUnavailable) || groupCtx.Err() != nil {
				return err
			}
			m.err = err
			lock.Lock()
			defer lock.Unlock()
			manifests[d] = m
			return nil
		})
	}
	return manifests, group.Wait()
}

// sight gathers what the inventory knows of an image's state.
func (inv *inventory) sight(d digest.Digest) sighting {
	m, exists := inv.manifests[d]
	marker, marked := inv.markers[d]
	return sighting{tagged: len(inv.tags.Of(d)) > 0, exists: exists, mode: m.Mode, marked: marked, since: marker.ModTime}
}
