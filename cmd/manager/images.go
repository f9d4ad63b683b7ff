package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/store/backends"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

// images resolves images by the configuration of the moment.
type images struct {
	current func() *config.Config
	log     *slog.Logger

	mu       sync.Mutex
	store    config.Store
	resolver *tags.Resolver
	warnings []string
}

// Resolve implements controllers.Resolver.
func (m *images) Resolve(ctx context.Context, tag string) (*manifest.Image, tags.Answer, error) {
	r, err := m.follow()
	if err != nil {
		return nil, tags.Answer{}, err
	}
	image, answer, err := r.Resolve(ctx, tag)
	m.warn(r.Warnings())
	return image, answer, err
}

// follow returns the resolver of the current configuration. It begins anew only
// where the store's part of it has changed, since a resolver has a memory.
func (m *images) follow() (*tags.Resolver, error) {
	store := m.current().Store
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resolver != nil && m.store == store {
		return m.resolver, nil
	}
	r, err := newResolver(store)
	if err != nil {
		return nil, err
	}
	m.store, m.resolver = store, r
	return r, nil
}

// warn logs what is wrong with the tag files, once.
func (m *images) warn(warnings []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.warnings, warnings) {
		return
	}
	m.warnings = warnings
	for _, w := range warnings {
		m.log.Warn("tag file", "line", w)
	}
}

// newResolver builds the resolver of a configuration. It contacts no store.
func newResolver(c config.Store) (*tags.Resolver, error) {
	options := backends.Options{HadoopConf: backends.HadoopConf(os.Getenv), Keytab: c.Keytab, Principal: c.Principal}
	store, err := backends.Open(c.URL, options)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	var files []tags.File
	if c.LocalTagFile != "" {
		// As in Storm, where only the store's own tag file must be there.
		local := localdir.New(filepath.Dir(c.LocalTagFile))
		files = append(files, tags.File{Store: local, Name: filepath.Base(c.LocalTagFile), Optional: true})
	}
	if c.HDFSTagFile != "" {
		owner, name, err := backends.OpenFile(c.HDFSTagFile, options)
		if err != nil {
			return nil, fmt.Errorf("open tag file: %w", err)
		}
		files = append(files, tags.File{Store: owner, Name: name})
	}
	interval := halfInterval(c.RefreshInterval)
	index := tags.NewIndex(files, interval, time.Now)
	return tags.NewResolver(index, store, tags.Options{
		Verify: c.Verify, Interval: interval, Images: c.ManifestsToCache, Now: time.Now,
	}), nil
}

// halfInterval is how long the resolver caches an answer, and after how long the
// controllers ask again. A change of the store passes through both, so it shows
// within one refresh interval.
func halfInterval(refresh time.Duration) time.Duration { return refresh / 2 }
