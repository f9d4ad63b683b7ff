package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/store"
	hdfsstore "github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/test/hdfs"
)

const (
	// localizationGoal is how much of a copy's throughput a localization has.
	localizationGoal = 0.7
	// localizationSize is the size of the file, in bytes.
	localizationSize = 400_000_000
)

// localization compares the fetch of a layer from HDFS, checksummed by HDFS,
// hashed and synced, with a synced copy of the same file on the same disk, and
// with the Java client. Nothing of the file is in memory at the start.
type localization struct{ runs int }

func (r *localization) name() string { return "localization" }

func (r *localization) register(set *flag.FlagSet) {
	set.IntVar(&r.runs, "localization-runs", 5, "localization: how many `times` to fetch the file each way")
}

// ways are the times that the ways took.
type ways struct{ ours, copied, got, gotSynced []time.Duration }

func (r *localization) measure(ctx context.Context, log io.Writer) ([]figure, error) {
	dir, err := os.MkdirTemp("/var/tmp", "stormcell-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(log, "localization: starting HDFS, making the file")
	var figures []figure
	err = withHDFS(ctx, dir, func(h *hdfs.Cluster, conf string) error {
		f := fetching{dir: dir, file: filepath.Join(dir, "layer.sqsh"), url: h.URL("store"), conf: conf}
		w, err := f.measure(ctx, log, r.runs)
		if err == nil {
			figures = []figure{localizationFigure(f.image.SquashfsBytes(), w)}
		}
		return err
	})
	return figures, err
}

func localizationFigure(size int64, w ways) figure {
	speed := func(d time.Duration) float64 { return float64(size) / 1e6 / d.Seconds() }
	ours, copied, got, gotSynced := median(w.ours), median(w.copied), median(w.got), median(w.gotSynced)
	ratio := speed(ours) / speed(copied)
	return figure{
		Name: "localization from HDFS, verified", Unit: "MB/s",
		Ours: speed(ours), Peer: speed(copied), Ratio: ratio,
		Goal: fmt.Sprintf("at least %.1f of a copy, as fast as hdfs dfs -get", localizationGoal),
		Pass: ratio >= localizationGoal && ours <= got,
		Details: []string{
			fmt.Sprintf("a squashfs file of %.0f MB in HDFS on loopback (3 DataNodes, blocks of 128 MiB), until it is hashed and synced; the peer copies it on the same disk and syncs it; caches dropped before each; medians of %d", float64(size)/1e6, len(w.ours)),
			fmt.Sprintf("hdfs dfs -get of the Java client, JVM warm, not synced: %.2f MB/s, %.2f of ours; until it is synced: %.2f MB/s", speed(got), speed(got)/speed(ours), speed(gotSynced)),
			fmt.Sprintf("fastest and slowest: ours %s, copy %s, -get %s", spread(w.ours), spread(w.copied), spread(w.got)),
		},
	}
}

// fetching is a file in HDFS and beside it, and the ways to fetch it.
type fetching struct {
	dir, file string
	url, conf string
	image     manifest.Image
	java      *getter
}

func (f *fetching) measure(ctx context.Context, log io.Writer, runs int) (_ ways, err error) {
	if err := f.prepare(ctx); err != nil {
		return ways{}, err
	}
	if f.java, err = startGetter(ctx, f.conf); err != nil {
		return ways{}, err
	}
	defer func() { err = errors.Join(err, f.java.stop()) }()
	return f.race(ctx, log, runs)
}

// prepare makes a squashfs file of noise and puts it into a store in HDFS.
func (f *fetching) prepare(ctx context.Context) error {
	noise := filepath.Join(f.dir, "noise")
	if err := writeNoise(noise); err != nil {
		return err
	}
	if text, err := exec.CommandContext(ctx, "mksquashfs", noise, f.file, "-no-progress", "-noD").CombinedOutput(); err != nil {
		return fmt.Errorf("mksquashfs: %w: %.500s", err, text)
	}
	if err := os.Remove(noise); err != nil {
		return err
	}
	writer, err := f.store()
	if err != nil {
		return err
	}
	if err := writer.Bootstrap(ctx); err != nil {
		return err
	}
	in, err := os.Open(f.file)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha256.New()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if _, err := io.Copy(hash, in); err != nil {
		return err
	}
	content := digest.NewDigest(digest.SHA256, hash)
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + content.String() + `"]}}`)
	f.image = manifest.Image{
		Tag: "bench", ManifestDigest: content,
		Config: manifest.Blob{Digest: digest.FromBytes(config), Size: int64(len(config))},
		// What archive the layer was made of does not matter here.
		Layers: []manifest.Layer{{Digest: content, Size: fi.Size(), File: manifest.LayerFile(content), Squashfs: manifest.Blob{Digest: content, Size: fi.Size()}}},
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := upload(ctx, writer, manifest.LayerFile(content), in); err != nil {
		return err
	}
	return writer.Replace(ctx, manifest.ConfigFile(f.image.Config.Digest), nil, config, store.CreateOptions{})
}

func writeNoise(name string) error {
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, rand.Reader, localizationSize)
	return errors.Join(err, out.Close())
}

func upload(ctx context.Context, writer store.Writer, name string, content io.Reader) error {
	u, err := writer.Create(ctx, name, store.CreateOptions{})
	if err != nil {
		return err
	}
	defer u.Abort()
	if _, err := io.Copy(u, content); err != nil {
		return err
	}
	return u.Commit()
}

func (f *fetching) store() (store.Writer, error) {
	address, err := store.ParseAddress(f.url)
	if err != nil {
		return nil, err
	}
	return hdfsstore.New(address, hdfsstore.Options{ConfDir: f.conf})
}

// race goes all ways in turns, so that a noisy moment falls on all. The first
// round does not count: a JVM gets faster with use.
func (f *fetching) race(ctx context.Context, log io.Writer, runs int) (ways, error) {
	var w ways
	for i := range runs + 1 {
		if i > 0 {
			fmt.Fprintf(log, "\rlocalization: %d of %d", i, runs)
		}
		ours, err := f.localize(ctx)
		if err != nil {
			return w, fmt.Errorf("localize: %w", err)
		}
		copied, err := f.copy()
		if err != nil {
			return w, fmt.Errorf("copy: %w", err)
		}
		got, synced, err := f.get()
		if err != nil {
			return w, err
		}
		if i > 0 {
			w.ours, w.copied = append(w.ours, ours), append(w.copied, copied)
			w.got, w.gotSynced = append(w.got, got), append(w.gotSynced, synced)
		}
	}
	fmt.Fprintln(log)
	return w, nil
}

// localize fetches the file as a fresh agent does.
func (f *fetching) localize(ctx context.Context) (time.Duration, error) {
	cache := filepath.Join(f.dir, "cache")
	defer os.RemoveAll(cache)
	store, err := f.store()
	if err != nil {
		return 0, err
	}
	l := localizer.New(localizer.Options{Store: store, Dir: cache})
	if err := errors.Join(l.Recover(ctx), dropCaches()); err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = l.Localize(ctx, "bench", f.image, nil)
	return time.Since(begin), err
}

// copy copies the file on its disk and syncs it.
func (f *fetching) copy() (time.Duration, error) {
	if err := dropCaches(); err != nil {
		return 0, err
	}
	begin := time.Now()
	in, err := os.Open(f.file)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(f.dir, "copy"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Sync(), out.Close())
	return time.Since(begin), err
}

// get has the Java client fetch the file. The second time includes a sync.
func (f *fetching) get() (got, synced time.Duration, err error) {
	if err := dropCaches(); err != nil {
		return 0, 0, err
	}
	name := filepath.Join(f.dir, "got")
	defer os.Remove(name)
	if got, err = f.java.get(f.url+"/"+f.image.Layers[0].File, name); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	out, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	err = errors.Join(out.Sync(), out.Close())
	return got, got + time.Since(begin), err
}
