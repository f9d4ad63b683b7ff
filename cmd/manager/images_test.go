package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

// TestImagesFollow checks by which tag file an image is looked up: the store
// has no manifest, and the error names the one that was looked for.
func TestImagesFollow(t *testing.T) {
	ones, twos := strings.Repeat("1", 64), strings.Repeat("2", 64)
	dir := t.TempDir()
	root := filepath.Join(dir, "store")
	if err := localdir.New(root).Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, manifest.TagFile), "a:1,b:1:"+ones+"\nno line of a tag file\n")
	local := filepath.Join(dir, "overrides")

	conf := &config.Config{Fixed: config.Fixed{Store: config.Store{
		URL: "file://" + root, HDFSTagFile: "file://" + root + "/" + manifest.TagFile, LocalTagFile: local,
		RefreshInterval: time.Hour, ManifestsToCache: 2, Verify: store.VerifyIfPresent,
	}}}
	var log strings.Builder
	m := &images{current: func() *config.Config { return conf }, log: slog.New(slog.NewTextHandler(&log, nil))}
	wantManifest(t, m, "a:1", ones) // the local file may be missing
	if first, second := m.resolver, must(m.follow()); first != second {
		t.Error("a resolver was lost without a change")
	}
	if n := strings.Count(log.String(), "line 2"); n != 1 {
		t.Errorf("the bad line was told of %d times: %s", n, log.String())
	}
	wantManifest(t, m, "a:1", ones)
	if n := strings.Count(log.String(), "line 2"); n != 1 {
		t.Errorf("the bad line was told of %d times", n)
	}

	writeFile(t, local, "a:1:"+twos+"\n")
	changed := *conf
	changed.Store.RefreshInterval = time.Minute
	conf = &changed
	wantManifest(t, m, "a:1", twos)
	wantManifest(t, m, "b:1", ones)
	if _, _, err := m.Resolve(t.Context(), "c:1"); !errors.Is(err, tags.ErrTagNotFound) {
		t.Errorf("unknown tag: %v", err)
	}

	broken := *conf
	broken.Store.URL = "gopher://nn/containers"
	conf = &broken
	if _, _, err := m.Resolve(t.Context(), "a:1"); err == nil || !strings.Contains(err.Error(), "gopher") {
		t.Errorf("store of no known kind: %v", err)
	}
}

func wantManifest(t *testing.T, m *images, tag, hex string) {
	t.Helper()
	_, _, err := m.Resolve(t.Context(), tag)
	if !errors.Is(err, store.ErrManifestMissing) || !strings.Contains(err.Error(), hex) {
		t.Errorf("%s: %v, want manifest %s missing", tag, err, hex)
	}
}

func must(r *tags.Resolver, err error) *tags.Resolver {
	if err != nil {
		panic(err)
	}
	return r
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
