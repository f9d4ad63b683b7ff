package prefetch_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// put writes a file of a store.
func put(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// stored puts an image with one layer of noise into a store.
func stored(t *testing.T, dir, tag string) manifest.Image {
	t.Helper()
	noise := make([]byte, 100<<10)
	_, _ = rand.Read(noise) // it never fails
	tree, out := t.TempDir(), filepath.Join(t.TempDir(), "layer.sqsh")
	put(t, tree, "noise", noise)
	if text, err := exec.CommandContext(t.Context(), "mksquashfs", tree, out, "-quiet", "-no-progress", "-noD").CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, text)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{}}`)
	layer := manifest.Layer{
		Digest: digest.FromString(tag), Size: 1, File: manifest.LayerFile(digest.FromString(tag)),
		Squashfs: manifest.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))},
	}
	image := manifest.Image{
		Tag: tag, ManifestDigest: digest.FromString(tag),
		Config: manifest.Blob{Digest: digest.FromBytes(config), Size: int64(len(config))}, Layers: []manifest.Layer{layer},
	}
	put(t, dir, manifest.ConfigFile(image.Config.Digest), config)
	put(t, dir, layer.File, content)
	return image
}

// phase is how far the queue is with a tag.
func phase(q *prefetch.Queue, tag string) (prefetch.Phase, error) {
	for _, s := range q.States() {
		if s.Tag == tag {
			return s.Phase, s.Err
		}
	}
	return prefetch.Pending, nil
}

// TestQueueHearsOfEvictions joins the queue with a real cache, which has room for
// one image: what makes room for a worker is not said to be here any more.
func TestQueueHearsOfEvictions(t *testing.T) {
	dir := t.TempDir()
	if err := localdir.New(dir).Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	ahead, worker := stored(t, dir, "ahead"), stored(t, dir, "worker")
	size := ahead.SquashfsBytes()
	cache := localizer.New(localizer.Options{
		Store: localdir.New(dir), Dir: filepath.Join(t.TempDir(), "cache"), Verify: store.VerifyRequired, MaxBytes: size + size/2,
	})
	if err := cache.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	changes := make(chan struct{}, 16)
	q := prefetch.New(cache, func() { changes <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	await := func(want prefetch.Phase) error {
		for {
			is, err := phase(q, "ahead")
			if is == want {
				return err
			}
			<-changes
		}
	}
	q.Want([]manifest.Image{ahead})
	if err := await(prefetch.Ready); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Localize(t.Context(), "w", worker, nil); err != nil {
		t.Fatal(err)
	}
	if err := await(prefetch.Failed); !errors.Is(err, localizer.ErrEvicted) {
		t.Errorf("%v, want that it gave way", err)
	}
}
