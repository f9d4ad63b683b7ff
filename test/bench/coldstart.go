package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/hdfs"
	"github.com/stormcell/stormcell/test/stack"
)

const (
	// coldGoal is how many times faster a cold start shall be than Docker's.
	coldGoal = 10
	// diskGoal is the part of Docker's disk space that an image may take.
	diskGoal = 0.4
)

// coldStart measures the time from the creation of a StormWorker, of whose
// image the node has nothing, to the first act of its process; and that from
// "docker pull" to the first act of the process of "docker run". The daemons of
// both run already, all content comes from disk. It also measures what the
// image takes on the node's disk afterwards.
type coldStart struct{ runs int }

func (r *coldStart) name() string { return "cold-start" }

func (r *coldStart) register(set *flag.FlagSet) {
	set.IntVar(&r.runs, "cold-runs", 3, "cold-start: how many `times` to start each")
}

// trial is one cold start of either.
type trial struct {
	start time.Duration // to the first act of the process
	pull  time.Duration // of docker pull alone
	disk  int64         // bytes that it took on disk
}

func (r *coldStart) measure(ctx context.Context, log io.Writer) (_ []figure, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "stormcell-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(log, "cold-start: making the image")
	image, err := makeRootImage(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	fmt.Fprintf(log, "cold-start: %v; starting Docker and a registry, pushing\n", image)
	d, err := startDocker(ctx, filepath.Join(dir, "docker"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Stop(context.WithoutCancel(ctx))) }()
	peer := dockerNode{docker: d, image: d.Registry + "/storm/bench:latest"}
	if err := image.push(ctx, peer.image); err != nil {
		return nil, err
	}
	version, err := d.version(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "cold-start: starting HDFS and stormcell, pushing")
	var figures []figure
	err = withHDFS(ctx, dir, func(h *hdfs.Cluster, conf string) error {
		ours, theirs, err := r.measureOn(ctx, log, h.URL("store"), conf, image, peer)
		if err == nil {
			figures = coldFigures(image, version, ours, theirs)
		}
		return err
	})
	return figures, err
}

// measureOn starts stormcell on a store, pushes the image and measures.
func (r *coldStart) measureOn(ctx context.Context, log io.Writer, store, conf string, image rootImage, peer dockerNode) (ours, theirs []trial, err error) {
	s, err := stack.Start(ctx, stack.WithStore(store, "HADOOP_CONF_DIR="+conf))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.Push(ctx, image.source(), stack.OtherImage); err != nil {
		return nil, nil, err
	}
	return r.race(ctx, log, s, peer)
}

// race starts each in turns.
func (r *coldStart) race(ctx context.Context, log io.Writer, s *stack.Stack, peer dockerNode) (ours, theirs []trial, err error) {
	for i := range r.runs {
		o, err := coldWorker(ctx, s, i)
		if err != nil {
			return nil, nil, err
		}
		t, err := peer.coldStart(ctx)
		if err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(log, "cold-start: %d of %d: ours %.2f s, Docker %.2f s\n", i+1, r.runs, o.start.Seconds(), t.start.Seconds())
		ours, theirs = append(ours, o), append(theirs, t)
	}
	return ours, theirs, nil
}

// coldWorker makes this a node that has nothing of the image, starts a worker on
// it, and deletes the worker.
func coldWorker(ctx context.Context, s *stack.Stack, i int) (t trial, err error) {
	if err := freshAgent(ctx, s); err != nil {
		return t, err
	}
	before, err := diskUsage(s.Path("cache"))
	if err != nil {
		return t, err
	}
	if err := dropCaches(); err != nil {
		return t, err
	}
	begin := time.Now()
	w, err := s.Apply(ctx, fmt.Sprintf("cold-%d", i), int32(6701+i), stack.OtherImage, stamp...) //nolint:gosec // a port
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.Remove(context.WithoutCancel(ctx), w)) }()
	if err := s.Await(ctx, w, api.ReasonCompleted); err != nil {
		return t, err
	}
	at, err := stampOf(s, w)
	if err != nil {
		return t, err
	}
	after, err := diskUsage(s.Path("cache"))
	return trial{start: at.Sub(begin), disk: after - before}, err
}

// freshAgent starts an agent whose cache is empty, in a cluster where nobody has
// asked for the image yet.
func freshAgent(ctx context.Context, s *stack.Stack) error {
	if err := s.StopAgent(syscall.SIGTERM); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Path("cache")); err != nil {
		return err
	}
	if err := s.Forget(ctx, stack.OtherImage); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.StartAgent(); err != nil {
		return err
	}
	return s.AwaitAgent(ctx, begin)
}

// dockerNode is Docker, as a node, and an image of its registry.
type dockerNode struct {
	*docker
	image string
}

// coldStart pulls and runs the image, and removes it.
func (n dockerNode) coldStart(ctx context.Context) (trial, error) {
	data := filepath.Join(n.Dir, "data")
	before, err := diskUsage(data)
	if err != nil {
		return trial{}, err
	}
	if err := dropCaches(); err != nil {
		return trial{}, err
	}
	begin := time.Now()
	if err := n.pull(ctx, n.image); err != nil {
		return trial{}, err
	}
	pulled := time.Since(begin)
	at, err := n.start(ctx, n.image)
	if err != nil {
		return trial{}, err
	}
	after, err := diskUsage(data)
	if err != nil {
		return trial{}, err
	}
	return trial{start: at.Sub(begin), pull: pulled, disk: after - before}, n.remove(ctx, n.image)
}

func coldFigures(image rootImage, version string, ours, theirs []trial) []figure {
	starts := func(trials []trial) (times []time.Duration) {
		for _, t := range trials {
			times = append(times, t.start)
		}
		return times
	}
	var pulls []time.Duration
	for _, t := range theirs {
		pulls = append(pulls, t.pull)
	}
	o, p := median(starts(ours)), median(starts(theirs))
	ratio := float64(p) / float64(o)
	last, peer := ours[len(ours)-1].disk, theirs[len(theirs)-1].disk
	disk := float64(last) / float64(peer)
	return []figure{{
		Name: "cold start: apply to process runs", Unit: "s",
		Ours: o.Seconds(), Peer: p.Seconds(), Ratio: ratio,
		Goal: fmt.Sprintf("%d times faster than Docker", coldGoal), Pass: ratio >= coldGoal,
		Details: []string{
			fmt.Sprintf("an image of %v; ours from HDFS on loopback (3 DataNodes, blocks of 128 MiB), layer cache empty; the peer is docker pull and docker run, from docker-registry on loopback; page cache dropped before each; medians of %d", image, len(ours)),
			fmt.Sprintf("peer: %s; docker pull alone: %.2f s", version, median(pulls).Seconds()),
			fmt.Sprintf("fastest and slowest: ours %s, peer %s", spread(starts(ours)), spread(starts(theirs))),
		},
	}, {
		Name: "node disk for the image", Unit: "MB",
		Ours: float64(last) / 1e6, Peer: float64(peer) / 1e6, Ratio: disk,
		Goal: fmt.Sprintf("at most %.1f of Docker's", diskGoal), Pass: disk <= diskGoal,
		Details: []string{"what the image of the cold start has added to the layer cache, and to Docker's data directory, in blocks of the disk"},
	}}
}
