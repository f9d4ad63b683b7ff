package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// warmGoal is how much longer than a bare "runc run" a warm start may take.
const warmGoal = 60 * time.Millisecond

// stamp is a process whose first act is to tell the time.
var stamp = []string{"date", "+%s%N"}

// warmStart measures the time from the creation of a StormWorker, whose image
// is localized and mounted, to the first act of its process; and the same for
// "runc run" of the same config.json in the same root file system, and for
// "docker run" of the same image.
type warmStart struct{ runs int }

func (r *warmStart) name() string { return "warm-start" }

func (r *warmStart) register(set *flag.FlagSet) {
	set.IntVar(&r.runs, "warm-runs", 100, "warm-start: how many `times` to start each")
}

func (r *warmStart) measure(ctx context.Context, log io.Writer) (_ []figure, err error) {
	a, err := startArena(ctx, log, r.name())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stop(context.WithoutCancel(ctx))) }()
	standing, err := a.stack.Apply(ctx, "standing", 6700, stack.Image, "sleep", "infinity")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stack.Remove(context.WithoutCancel(ctx), standing)) }()
	if err := a.stack.Await(ctx, standing, api.ReasonRunning); err != nil {
		return nil, err
	}
	return r.race(ctx, log, a.stack, standing, a.docker)
}

// race starts each in turns, so that a noisy moment falls on all.
func (r *warmStart) race(ctx context.Context, log io.Writer, s *stack.Stack, standing *api.StormWorker, d *docker) ([]figure, error) {
	var ours, bare, docker []time.Duration
	for i := range r.runs {
		fmt.Fprintf(log, "\rwarm-start: %d of %d", i+1, r.runs)
		o, err := workerStart(ctx, s, i)
		if err != nil {
			return nil, err
		}
		b, err := runcStart(ctx, s, standing, i)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		at, err := d.start(ctx, stack.Image)
		if err != nil {
			return nil, err
		}
		ours, bare, docker = append(ours, o), append(bare, b), append(docker, at.Sub(begin))
	}
	fmt.Fprintln(log)
	return warmFigures(ours, bare, docker), nil
}

func warmFigures(ours, bare, docker []time.Duration) []figure {
	o, b, d := median(ours), median(bare), median(docker)
	figureTo := func(peer time.Duration) figure {
		return figure{
			Name: "warm start: apply to process runs", Unit: "ms",
			Ours: milliseconds(o), Peer: milliseconds(peer), Ratio: float64(o) / float64(peer),
		}
	}
	toRunc, toDocker := figureTo(b), figureTo(d)
	toRunc.Goal, toRunc.Pass = "at most 60 ms above runc run", o-b <= warmGoal
	toRunc.Details = []string{
		fmt.Sprintf("median of %d; above the peer: %.1f ms", len(ours), milliseconds(o-b)),
		fmt.Sprintf("p99: ours %.1f ms, runc run %.1f ms, docker run %.1f ms", milliseconds(p99(ours)), milliseconds(p99(bare)), milliseconds(p99(docker))),
		fmt.Sprintf("fastest and slowest: ours %s, runc run %s, docker run %s", spread(ours), spread(bare), spread(docker)),
	}
	toDocker.Goal, toDocker.Pass = "faster than docker run, at p99 too", o < d && p99(ours) < p99(docker)
	toDocker.Details = []string{"the peer is docker run of the same image, which Docker has; the client's start counts, as it does for a user"}
	return []figure{toRunc, toDocker}
}

// workerStart starts a StormWorker and tells how long it took.
func workerStart(ctx context.Context, s *stack.Stack, i int) (time.Duration, error) {
	begin := time.Now()
	w, err := s.Apply(ctx, fmt.Sprintf("warm-%d", i), int32(6701+i), stack.Image, stamp...) //nolint:gosec // a port
	if err != nil {
		return 0, err
	}
	if err := s.Await(ctx, w, api.ReasonCompleted); err != nil {
		return 0, err
	}
	at, err := stampOf(s, w)
	return at.Sub(begin), errors.Join(err, s.Remove(ctx, w))
}

// stampOf reads the stamp in the log of a worker that has ended.
func stampOf(s *stack.Stack, w *api.StormWorker) (time.Time, error) {
	text, err := logOf(s, w)
	if err != nil {
		return time.Time{}, err
	}
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return time.Time{}, fmt.Errorf("the worker's log is %q", text)
	}
	return stamped(fields[3])
}

// logOf reads the log of a worker's first run.
func logOf(s *stack.Stack, w *api.StormWorker) (string, error) {
	text, err := os.ReadFile(s.Path("log", w.ContainerID(), "0.log"))
	if err != nil {
		return "", fmt.Errorf("read the worker's log: %w", err)
	}
	return string(text), nil
}

// runcStart starts the standing worker's container a second time, by runc
// alone, with the stamp for its process.
func runcStart(ctx context.Context, s *stack.Stack, standing *api.StormWorker, i int) (time.Duration, error) {
	content, err := os.ReadFile(s.Path("run", "workers", standing.ContainerID(), "bundle", "config.json"))
	if err != nil {
		return 0, fmt.Errorf("read bundle: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(content, &spec); err != nil {
		return 0, fmt.Errorf("read bundle: %w", err)
	}
	id := fmt.Sprintf("bench-%d", i)
	spec.Process.Args = []string{"bash", "-c", "exec " + strings.Join(stamp, " ")}
	spec.Linux.CgroupsPath = filepath.Join(s.CgroupParent(), id)
	bundle := s.Path("bench", id)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return 0, fmt.Errorf("make bundle: %w", err)
	}
	if content, err = json.Marshal(spec); err != nil {
		return 0, fmt.Errorf("make bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), content, 0o600); err != nil {
		return 0, fmt.Errorf("make bundle: %w", err)
	}
	begin := time.Now()
	out, err := exec.CommandContext(ctx, "runc", "--root", s.Path("bench", "state"), "run", "-b", bundle, id).Output()
	if err != nil {
		return 0, fmt.Errorf("runc run: %w", err)
	}
	at, err := stamped(strings.TrimSpace(string(out)))
	return at.Sub(begin), err
}

// stamped is the moment of a stamp.
func stamped(nanoseconds string) (time.Time, error) {
	n, err := strconv.ParseInt(nanoseconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the stamp: %w", err)
	}
	return time.Unix(0, n), nil
}
