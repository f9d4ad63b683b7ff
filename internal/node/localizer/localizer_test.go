package localizer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func TestLocalize(t *testing.T) {
	s := newSite(t, 10<<20, 1000, 4<<20)
	var faulty faultyStore
	l := s.localizer(&faulty)
	var last, calls int64
	local, err := l.Localize(t.Context(), "w", s.image, func(done, total int64) {
		if done < last || total != s.image.SquashfsBytes() {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	s.check(local, s.image)
	s.wantLayers(s.image.Layers...)
	if last != s.image.SquashfsBytes() || calls < 6 {
		t.Errorf("progress ended at %d of %d after %d calls", last, s.image.SquashfsBytes(), calls)
	}
	if n, _ := faulty.totals(); n != s.image.SquashfsBytes() {
		t.Errorf("%d bytes were read of the store, the layers have %d", n, s.image.SquashfsBytes())
	}
	// A second worker, and one after a restart, need no store at all.
	away := &faultyStore{open: func(string) error { return store.ErrUnavailable }}
	s.localize(l, "other", s.image)
	s.localize(s.localizer(away), "w", s.image)
	if _, opens := away.totals(); opens != 0 {
		t.Errorf("a cached image opened %d files of the store", opens)
	}
}

func TestLocalizeWithoutIdentity(t *testing.T) {
	s := newSite(t, 5000)
	s.image.Layers[0].Squashfs.Digest = ""
	var faulty faultyStore
	l := s.localizer(&faulty)
	first := s.localize(l, "w", s.image)
	s.localize(s.localizer(&faulty), "w", s.image)
	if n, _ := faulty.totals(); n != s.image.SquashfsBytes() {
		t.Errorf("%d bytes were read, want %d: once", n, s.image.SquashfsBytes())
	}
	// The store's file is replaced: the name is the same, the layer is not.
	content := squash(s, 9000)
	s.put(s.image.Layers[0].File, content)
	s.image.Layers[0].Squashfs.Size = int64(len(content))
	second := s.localize(l, "w2", s.image)
	if first.Layers[0].Digest == second.Layers[0].Digest || second.Layers[0].Digest != digest.FromBytes(content) {
		t.Errorf("after the replacement the layer is %s, before %s", second.Layers[0].Digest, first.Layers[0].Digest)
	}
	s.check(first, manifest.Image{Layers: []manifest.Layer{{Squashfs: manifest.Blob{Size: fileSize(t, first.Layers[0].Path)}}}, Config: s.image.Config})

	strict := s.localizer(&faulty, func(o *Options) { o.Verify = store.VerifyRequired })
	if _, err := strict.Localize(t.Context(), "w", s.image, nil); !errors.Is(err, store.ErrUnverifiable) {
		t.Errorf("identity required: %v, want ErrUnverifiable", err)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

func TestLocalizeRefusesWhatIsWrong(t *testing.T) {
	base := newSite(t, 9<<20, 2000)
	layer := base.image.Layers[0]
	good := base.get(layer.File)
	config := manifest.ConfigFile(base.image.Config.Digest)
	goodConfig := base.get(config)
	altered := bytes.Clone(good)
	altered[len(altered)/2] ^= 1
	text := bytes.Repeat([]byte("text"), 1000)
	claims := bytes.Clone(base.get(base.image.Layers[1].File))
	claims[42]++ // bytes_used of the superblock: 64 KiB more
	known := func(i *manifest.Image, content []byte) {
		i.Layers[0].Squashfs = manifest.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	}
	unknown := func(i *manifest.Image, content []byte) {
		i.Layers[0].Squashfs = manifest.Blob{Size: int64(len(content))}
	}
	for name, c := range map[string]struct {
		spoil func(s *site, i *manifest.Image)
		want  error
		names string
	}{
		"truncated":         {func(s *site, _ *manifest.Image) { s.put(layer.File, good[:len(good)-1]) }, ErrCorrupt, layer.File},
		"longer":            {func(s *site, _ *manifest.Image) { s.put(layer.File, append(bytes.Clone(good), 0)) }, ErrCorrupt, layer.File},
		"altered":           {func(s *site, _ *manifest.Image) { s.put(layer.File, altered) }, ErrCorrupt, layer.Squashfs.Digest.String()},
		"missing":           {func(s *site, _ *manifest.Image) { os.Remove(filepath.Join(s.store, layer.File)) }, store.ErrLayerMissing, layer.File},
		"a directory":       {func(s *site, _ *manifest.Image) { s.makeDir(layer.File) }, nil, layer.File},
		"not a squashfs":    {func(s *site, i *manifest.Image) { s.put(layer.File, text); unknown(i, text) }, ErrCorrupt, "squashfs"},
		"claims to be more": {func(s *site, i *manifest.Image) { s.put(layer.File, claims); known(i, claims) }, ErrCorrupt, layer.File + " in file://"},
		"claims to be more, without identity": {
			func(s *site, i *manifest.Image) { s.put(layer.File, claims); unknown(i, claims) }, ErrCorrupt,
			fmt.Sprintf("bytes long, the file has %d: it was cut short", len(claims)),
		},
		"identity lies":       {func(_ *site, i *manifest.Image) { i.Layers[0].Squashfs.Digest = digest.FromString("another") }, ErrCorrupt, layer.File},
		"identity names less": {func(_ *site, i *manifest.Image) { i.Layers[0].Squashfs.Size-- }, ErrCorrupt, layer.File},
		"config altered":      {func(s *site, _ *manifest.Image) { s.put(config, append(bytes.Clone(goodConfig), ' ')) }, ErrCorrupt, config},
		"config too large":    {func(s *site, _ *manifest.Image) { s.put(config, make([]byte, manifest.MaxConfigSize+1)) }, ErrCorrupt, config},
		"config missing":      {func(s *site, _ *manifest.Image) { os.Remove(filepath.Join(s.store, config)) }, store.ErrConfigMissing, config},
		"store away":          {func(s *site, _ *manifest.Image) { os.RemoveAll(s.store) }, store.ErrUnavailable, "file://"},
		"path leads out":      {func(_ *site, i *manifest.Image) { i.Layers[0].File = "../x" }, nil, "../x"},
		"digest leads out":    {func(_ *site, i *manifest.Image) { i.Layers[0].Squashfs.Digest = "sha256:../../x" }, manifest.ErrMalformed, "../../x"},
		"archive leads out":   {func(_ *site, i *manifest.Image) { i.Layers[0].Digest = "sha256:../../x" }, manifest.ErrMalformed, "../../x"},
		"config leads out":    {func(_ *site, i *manifest.Image) { i.Config.Digest = "sha256:../../x" }, manifest.ErrMalformed, "../../x"},
		"no size":             {func(_ *site, i *manifest.Image) { i.Layers[0].Squashfs.Size = 0 }, ErrCorrupt, layer.Digest.String()},
		"no layers":           {func(_ *site, i *manifest.Image) { i.Layers = nil }, manifest.ErrUnsupported, "0 layers"},
		"too many layers":     {func(_ *site, i *manifest.Image) { i.Layers = make([]manifest.Layer, 501) }, manifest.ErrUnsupported, "501"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{TB: t, store: filepath.Join(t.TempDir(), "store"), cache: filepath.Join(t.TempDir(), "cache"), image: base.image}
			if err := os.CopyFS(s.store, os.DirFS(base.store)); err != nil {
				t.Fatal(err)
			}
			s.image.Layers = append([]manifest.Layer(nil), base.image.Layers...)
			c.spoil(s, &s.image)
			l := s.localizer(nil)
			local, err := l.Localize(t.Context(), "w", s.image, nil)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("image %+v, error %v, want %v", local, err, c.want)
			}
			if !strings.Contains(err.Error(), c.names) {
				t.Errorf("error %q does not name %s", err, c.names)
			}
			s.wantNothingWrong(base.image)
			s.wantAtRest(l)
			if len(l.cache.holds) != 0 {
				t.Errorf("after the failure: holds %v", l.cache.holds)
			}
			// When the store is mended, the same Localizer goes on.
			if errors.Is(c.want, ErrCorrupt) && s.image.Layers[0] == layer {
				s.put(layer.File, good)
				s.put(config, goodConfig)
				s.localize(l, "w", s.image)
			}
		})
	}
}

// wantNothingWrong checks that the cache has at most layers of image, whole,
// or what has come of one: a good layer may have arrived before the fault of
// another was seen.
func (s *site) wantNothingWrong(image manifest.Image) {
	s.Helper()
	var whole []string
	for _, l := range image.Layers {
		whole = append(whole, filepath.Base(layerName(l.Squashfs.Digest)))
	}
	for _, f := range s.files() {
		if partialForm.MatchString("layers/" + f) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(s.cache, "layers", f))
		if err != nil || !slices.Contains(whole, f) || digest.FromBytes(content).Encoded()+".sqsh" != f {
			s.Errorf("left in the cache: %s (error %v)", f, err)
		}
	}
}

func TestCachedFileThatWasChanged(t *testing.T) {
	s := newSite(t, 6000)
	layer := s.image.Layers[0]
	good := s.get(layer.File)
	altered := bytes.Clone(good)
	altered[3000] ^= 1
	path := filepath.Join(s.cache, layerName(layer.Squashfs.Digest))
	for name, c := range map[string]struct {
		spoil   func() error
		fetches bool
	}{
		"altered":   {func() error { return os.WriteFile(path, altered, 0) }, true},
		"cut short": {func() error { return os.Truncate(path, 100) }, true},
		"deleted":   {func() error { return os.Remove(path) }, true},
		"replaced by a link": {func() error {
			return errors.Join(os.Remove(path), os.Symlink(filepath.Join(s.store, layer.File), path))
		}, true},
		"given to another":     {func() error { return os.Chown(path, 65534, 65534) }, true},
		"opened for others":    {func() error { return os.Chmod(path, 0o666) }, true},
		"copied, but the same": {func() error { return errors.Join(os.Remove(path), os.WriteFile(path, good, 0o444)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restarted := range []bool{false, true} {
				var store faultyStore
				l := s.localizer(&store)
				s.localize(l, "w", s.image)
				before, _ := store.totals()
				if err := c.spoil(); err != nil {
					t.Skipf("needs root: %v", err)
				}
				if restarted {
					l = s.localizer(&store)
				}
				s.localize(l, "w", s.image)
				s.wantLayers(layer)
				after, _ := store.totals()
				if fetched := after > before; fetched != c.fetches {
					t.Errorf("restarted %v: fetched again: %v, want %v", restarted, fetched, c.fetches)
				}
				s.localize(l, "w", s.image)
				if again, _ := store.totals(); again != after {
					t.Error("the mended file was fetched once more")
				}
			}
		})
	}
}

func TestRecoverSweepsLeftovers(t *testing.T) {
	s := newSite(t, 6000)
	s.localize(s.localizer(nil), "w", s.image)
	layer, another := s.image.Layers[0].Squashfs.Digest, digest.FromString("another")
	for name, content := range map[string]string{
		"layers/" + tempPrefix + "ABC":            "half",
		"config/" + tempPrefix + "ABC":            "half",
		"config/" + tempPrefix + layer.Encoded():  "half, and nobody goes on with a config",
		partialName(layer):                        "half of what is here whole",
		partialName(another) + "x":                "half, of no layer",
		recallName(digest.FromString("gone")):     `{"digest":"` + digest.FromString("not here").String() + `","size":1}`,
		recallName(digest.FromString("nonsense")): "nonsense",
	} {
		if err := os.WriteFile(filepath.Join(s.cache, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(s.cache, partialName(digest.FromString("a link")))); err != nil {
		t.Fatal(err)
	}
	s.localizer(nil)
	s.wantLayers(s.image.Layers...)
	if entries, err := os.ReadDir(filepath.Join(s.cache, "config")); err != nil || len(entries) != 1 {
		t.Errorf("configs: %v (error %v), want one", entries, err)
	}
	// What a fetch can go on with stays.
	if err := os.WriteFile(filepath.Join(s.cache, partialName(another)), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.localizer(nil)
	if got := s.files(); !slices.Contains(got, filepath.Base(partialName(another))) || len(got) != 2 {
		t.Errorf("cache has %v, want the layer and the half-fetched one", got)
	}
}

// TestRecoverLeavesWhatItDoesNotKnow: another version of stormcell may keep
// more in the cache, and want it back.
func TestRecoverLeavesWhatItDoesNotKnow(t *testing.T) {
	s := newSite(t, 6000)
	s.localize(s.localizer(nil), "w", s.image)
	var names []string
	for _, name := range []string{"layers/" + digest.FromString("x").Encoded() + ".erofs", "config/index", "version", "blobs/sha256"} {
		path := filepath.Join(s.cache, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		names = append(names, path)
	}
	s.localizer(nil)
	s.localize(s.localizer(nil), "w", s.image)
	for _, path := range names {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestRecoverRefusesADirectoryOfOthers(t *testing.T) {
	s := newSite(t)
	for name, prepare := range map[string]func(dir string) error{
		"writable for all": func(dir string) error { return os.Chmod(dir, 0o777) },
		"folder writable for all": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/layers", 0o700), os.Chmod(dir+"/layers", 0o777))
		},
		"folder is a link": func(dir string) error { return os.Symlink(t.TempDir(), dir+"/layers") },
		"folder is a file": func(dir string) error { return os.WriteFile(dir+"/layers", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			if err := New(Options{Dir: dir}).Recover(s.Context()); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one that names %s", err, dir)
			}
		})
	}
	if _, err := New(Options{}).Localize(t.Context(), "w", s.image, nil); !errors.Is(err, ErrNotRecovered) {
		t.Errorf("before Recover: %v, want ErrNotRecovered", err)
	}
}
