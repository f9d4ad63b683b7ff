package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// ErrFaults is a store in which Verify found faults.
var ErrFaults = errors.New("the store has faults")

// Verification is what Verify has seen and found.
type Verification struct {
	Store     string `json:"store"`
	Tags      int    `json:"tags"`
	Manifests int    `json:"manifests"`
	Configs   int    `json:"configs"`
	Layers    int    `json:"layers"`
	// Bytes is the total size of the layers that were read.
	Bytes int64 `json:"bytes"`
	// Faults is how many of the findings are faults.
	Faults   int       `json:"faults"`
	Findings []Finding `json:"findings"`
}

// Verify reads a whole store and reports what is wrong with it. It changes nothing
// and takes no lock: what is published or deleted meanwhile may be reported as
// unreferenced or missing.
func (c *Curator) Verify(ctx context.Context) (*Verification, error) {
	f := facts{
		tagFile:    c.TagFile,
		dead:       c.DeadMode,
		configs:    map[digest.Digest]configFact{},
		identities: map[digest.Digest]identityFact{},
		layers:     map[digest.Digest]layerFact{},
	}
	v := &Verification{Store: c.Store.URL(), Findings: []Finding{}}
	layers, err := c.list(ctx, manifest.LayersDir)
	if err != nil {
		return nil, err
	}
	configs, err := c.list(ctx, manifest.ConfigDir)
	if err != nil {
		return nil, err
	}
	if f.inventory, err = c.take(ctx); err != nil {
		return nil, err
	}
	named := f.named(manifest.ConfigDir, configs)
	if layers, err = c.late(ctx, &f, layers, named); err != nil {
		return nil, err
	}
	if err := c.readLayers(ctx, layers, &f); err != nil {
		return nil, err
	}
	if err := c.readConfigs(ctx, named, &f); err != nil {
		return nil, err
	}
	v.Tags, v.Manifests, v.Configs, v.Layers = len(f.tags.All()), len(f.manifests), len(f.configs), len(f.layers)
	for _, l := range f.layers {
		v.Bytes += l.size
	}
	v.Findings = append(v.Findings, judge(f)...)
	for _, finding := range v.Findings {
		if finding.Fault {
			v.Faults++
		}
	}
	return v, nil
}

// late adds the files that manifests name and that have come since the folders
// were listed.
func (c *Curator) late(ctx context.Context, f *facts, layers []store.Entry, configs map[digest.Digest]store.Info) ([]store.Entry, error) {
	listed := map[string]bool{}
	for _, e := range layers {
		listed[manifest.LayersDir+"/"+e.Name] = true
	}
	for d := range configs {
		listed[manifest.ConfigFile(d)] = true
	}
	stat := func(name string, found func(store.Info)) error {
		if listed[name] {
			return nil
		}
		listed[name] = true
		info, err := c.Store.Stat(ctx, name)
		if fatal(err) {
			return err
		}
		if err == nil {
			found(info)
		}
		return nil // missing, which the verdict tells
	}
	for _, m := range f.manifests {
		if m.err != nil {
			continue
		}
		config := m.manifest.Config.Digest
		if err := stat(manifest.ConfigFile(config), func(i store.Info) { configs[config] = i }); err != nil {
			return nil, err
		}
		for _, l := range m.manifest.Layers {
			for _, name := range []string{manifest.LayerFile(l.Digest), manifest.IdentityFile(l.Digest)} {
				err := stat(name, func(i store.Info) {
					layers = append(layers, store.Entry{Name: path.Base(name), Info: i})
				})
				if err != nil {
					return nil, err
				}
			}
		}
	}
	return layers, nil
}

func (c *Curator) readConfigs(ctx context.Context, files map[digest.Digest]store.Info, f *facts) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(documentsAtOnce)
	var lock sync.Mutex
	for d := range files {
		group.Go(func() error {
			var fact configFact
			content, err := c.Store.ReadFile(groupCtx, manifest.ConfigFile(d), manifest.MaxConfigSize)
			if err == nil {
				fact.size = int64(len(content))
				var config *manifest.ImageConfig
				if config, err = manifest.ParseConfig(content, d); err == nil {
					fact.diffIDs = config.DiffIDs
				}
			}
			lock.Lock()
			defer lock.Unlock()
			return noteConfig(f, d, fact, err)
		})
	}
	return group.Wait()
}

func noteConfig(f *facts, d digest.Digest, fact configFact, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was deleted meanwhile
	}
	if fatal(err) {
		return err
	}
	fact.err = err
	f.configs[d] = fact
	return nil
}

// fatal tells whether an error says nothing about a single file.
func fatal(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// readLayers reads the identities and hashes the layers, side by side.
func (c *Curator) readLayers(ctx context.Context, files []store.Entry, f *facts) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(layersAtOnce)
	var lock sync.Mutex
	for _, e := range files {
		hash, _, _ := strings.Cut(e.Name, ".")
		d := digest.NewDigestFromEncoded(digest.SHA256, hash)
		valid, name := manifest.ValidateDigest(d) == nil, manifest.LayersDir+"/"+e.Name
		switch {
		case valid && name == manifest.LayerFile(d):
			group.Go(func() error {
				fact, err := c.hash(groupCtx, d, e.Size)
				lock.Lock()
				defer lock.Unlock()
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				f.layers[d] = fact
				return err
			})
		case valid && name == manifest.IdentityFile(d):
			group.Go(func() error {
				fact, err := c.identity(groupCtx, d)
				lock.Lock()
				defer lock.Unlock()
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				f.identities[d] = fact
				return err
			})
		default:
			f.strays = append(f.strays, name)
		}
	}
	return group.Wait()
}

// identity reads an identity. The error is one that is not about the file, or
// that it is gone.
func (c *Curator) identity(ctx context.Context, d digest.Digest) (fact identityFact, _ error) {
	content, err := c.Store.ReadFile(ctx, manifest.IdentityFile(d), manifest.MaxIdentitySize)
	switch {
	case fatal(err), errors.Is(err, fs.ErrNotExist):
		return fact, err
	case err != nil:
		fact.err = err
	default:
		fact.Identity, fact.err = manifest.ParseIdentity(content)
	}
	return fact, nil
}

// hash reads a layer. Errors are as those of identity.
func (c *Curator) hash(ctx context.Context, d digest.Digest, size int64) (fact layerFact, err error) {
	c.Progress.Begin(d, size)
	defer func() { c.Progress.End(d, err == nil && fact.err == nil) }()
	f, err := c.Store.Open(ctx, manifest.LayerFile(d))
	if fatal(err) || errors.Is(err, fs.ErrNotExist) {
		return fact, err
	}
	if err != nil {
		return layerFact{size: size, err: err}, nil
	}
	defer f.Close()
	fact.size = f.Size()
	_, fact.format = squashfs.CheckSuperblock(f, f.Size())
	hash := digest.SHA256.Digester()
	content := io.NewSectionReader(&counted{ReaderAt: f, layer: d, progress: c.Progress}, 0, f.Size())
	_, err = io.CopyBuffer(struct{ io.Writer }{hash.Hash()}, struct{ io.Reader }{content}, make([]byte, 1<<20))
	if fatal(err) {
		return fact, err
	}
	if err != nil {
		fact.err = fmt.Errorf("read layer %s: %w", d, err)
	}
	fact.hash = hash.Digest()
	return fact, nil
}
