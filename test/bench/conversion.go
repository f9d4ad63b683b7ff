package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// conversionGoal is how many times faster a conversion shall be.
const conversionGoal = 5

// conversion compares docker-to-squash with the way of the original: unpack
// the layer to disk, then mksquashfs with its default options. Ours includes
// verifying, hashing and publishing into a store, with fsync; the peer's file
// is only written.
type conversion struct {
	layer string // a file, or empty
}

func (c *conversion) name() string { return "conversion" }

func (c *conversion) register(set *flag.FlagSet) {
	set.StringVar(&c.layer, "layer", "", "conversion: take this tar.gz `file`, of at least 1 GB unpacked, instead of one made of this machine's files")
}

// cost is what a way took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system time of all processes
	size int64         // of the squashfs file, in bytes
}

// cores is how many cores were busy in the mean.
func (c cost) cores() float64 { return c.cpu.Seconds() / c.wall.Seconds() }

func (c *conversion) measure(ctx context.Context, log io.Writer) ([]figure, error) {
	dir, err := os.MkdirTemp("", "stormcell-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(log, "conversion: making the layer")
	l, err := makeLayer(ctx, dir, c.layer)
	if err != nil {
		return nil, fmt.Errorf("make the layer: %w", err)
	}
	if l.unpacked < 1e9 {
		return nil, fmt.Errorf("the layer unpacks to %d bytes, the goal speaks of 1 GB at least", l.unpacked)
	}
	fmt.Fprintf(log, "conversion: %.2f GB, %.2f GB as tar.gz; converting our way\n", gb(l.unpacked), gb(l.size))
	ours, err := timed(func() (int64, error) { return convertOurs(ctx, dir, l) })
	if err != nil {
		return nil, fmt.Errorf("our way: %w", err)
	}
	fmt.Fprintf(log, "conversion: %.1f s; converting by tar and mksquashfs\n", ours.wall.Seconds())
	peer, err := timed(func() (int64, error) { return convertPeer(ctx, dir, l.file) })
	if err != nil {
		return nil, fmt.Errorf("the peer's way: %w", err)
	}
	ratio := peer.wall.Seconds() / ours.wall.Seconds()
	return []figure{{
		Name: c.name(), Ours: ours.wall.Seconds(), Peer: peer.wall.Seconds(), Unit: "s", Ratio: ratio,
		Goal: fmt.Sprintf("%d times faster, file no larger", conversionGoal),
		Pass: ratio >= conversionGoal && ours.size <= peer.size,
		Details: []string{
			fmt.Sprintf("a layer of %.2f GB in %d files (%.2f GB as tar.gz), until it is in a file:// store; the peer is tar -x, then mksquashfs", gb(l.unpacked), l.files, gb(l.size)),
			fmt.Sprintf("file size: ours %.1f MB, peer %.1f MB (%.3f)", float64(ours.size)/1e6, float64(peer.size)/1e6, float64(ours.size)/float64(peer.size)),
			fmt.Sprintf("CPU time: ours %.1f s, peer %.1f s (%.2f times less)", ours.cpu.Seconds(), peer.cpu.Seconds(), peer.cpu.Seconds()/ours.cpu.Seconds()),
			fmt.Sprintf("cores busy, CPU time / wall time: ours %.2f, peer %.2f", ours.cores(), peer.cores()),
		},
	}}, nil
}

func gb(n int64) float64 { return float64(n) / 1e9 }

// timed runs one way with a clean slate: nothing of before waits for the disk.
func timed(way func() (int64, error)) (cost, error) {
	unix.Sync()
	cpu, start := cpuTime(), time.Now()
	size, err := way()
	return cost{wall: time.Since(start), cpu: cpuTime() - cpu, size: size}, err
}

// cpuTime is what this process and the children that it waited for have used.
func cpuTime() time.Duration {
	var total time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}

// convertOurs publishes an image of that layer into a new store.
func convertOurs(ctx context.Context, dir string, l layer) (int64, error) {
	image, err := writeLayout(filepath.Join(dir, "image"), nil, l)
	if err != nil {
		return 0, err
	}
	store := localdir.New(filepath.Join(dir, "store"))
	if err := store.Bootstrap(ctx); err != nil {
		return 0, err
	}
	squasher, err := squashfs.Find(ctx)
	if err != nil {
		return 0, err
	}
	converter := convert.Converter{
		Store: store, Squasher: squasher, Progress: silent{},
		Options: convert.Options{
			Platform: source.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Limits:   convert.DefaultLimits, TempDir: dir, TagFile: manifest.TagFile,
		},
	}
	report, err := converter.Publish(ctx, []convert.Request{{Image: image, Tags: []string{"bench:1"}}})
	if err != nil {
		return 0, err
	}
	return report.Images[0].Layers[0].Squashfs.Size, nil
}

// convertPeer does what docker-to-squash.py does for a layer.
func convertPeer(ctx context.Context, dir, file string) (int64, error) {
	tree, out := filepath.Join(dir, "tree"), filepath.Join(dir, "peer.sqsh")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return 0, err
	}
	for _, args := range [][]string{{"tar", "-C", tree, "--xattrs", "-xzf", file}, {"mksquashfs", tree, out, "-no-progress"}} {
		if text, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return 0, errors.Join(ctx.Err(), fmt.Errorf("%s: %w: %.500s", args[0], err, text))
		}
	}
	fi, err := os.Stat(out)
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// silent takes no notice of progress.
type silent struct{}

func (silent) Begin(digest.Digest, int64)   {}
func (silent) Advance(digest.Digest, int64) {}
func (silent) End(digest.Digest, bool)      {}
