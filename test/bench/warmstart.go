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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
)

// warmGoal is how much longer than a bare "runc run" a warm start may take.
const warmGoal = 60 * time.Millisecond

// stamp is a process whose first act is to tell the time.
var stamp = []string{"date", "+%s%N"}

// warmStart measures the time from the creation of a StormWorker, whose image
// is localized and mounted, to the first act of its process; and the same for
// "runc run" of the same config.json in the same root file system.
type warmStart struct{ runs int }

func (r *warmStart) name() string { return "warm-start" }

func (r *warmStart) register(set *flag.FlagSet) {
	set.IntVar(&r.runs, "warm-runs", 20, "warm-start: how many `times` to start each")
}

func (r *warmStart) measure(ctx context.Context, log io.Writer) (f figure, err error) {
	fmt.Fprintln(log, "warm-start: starting an API server, the manager and the node-agent")
	s, err := stack.Start(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.StartAgent(); err != nil {
		return f, err
	}
	standing, err := start(ctx, s, "standing", 6700, []string{"sleep", "infinity"})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, end(context.WithoutCancel(ctx), s, standing)) }()
	if err := until(ctx, s, standing, api.ReasonRunning); err != nil {
		return f, err
	}
	var ours, peer []time.Duration
	// Taken in turns, so that a noisy moment falls on both.
	for i := range r.runs {
		fmt.Fprintf(log, "\rwarm-start: %d of %d", i+1, r.runs)
		o, err := workerStart(ctx, s, i)
		if err != nil {
			return f, err
		}
		p, err := runcStart(ctx, s, standing, i)
		if err != nil {
			return f, err
		}
		ours, peer = append(ours, o), append(peer, p)
	}
	fmt.Fprintln(log)
	return warmFigure(ours, peer), nil
}

func warmFigure(ours, peer []time.Duration) figure {
	slices.Sort(ours)
	slices.Sort(peer)
	o, p := ours[len(ours)/2], peer[len(peer)/2]
	return figure{
		Name: "warm start: apply to process runs", Unit: "ms",
		Ours: milliseconds(o), Peer: milliseconds(p), Ratio: float64(o) / float64(p),
		Goal: "at most 60 ms above runc run", Pass: o-p <= warmGoal,
		Details: []string{
			fmt.Sprintf("median of %d; above the peer: %.1f ms", len(ours), milliseconds(o-p)),
			fmt.Sprintf("fastest and slowest: ours %.1f and %.1f ms, runc run %.1f and %.1f ms",
				milliseconds(ours[0]), milliseconds(ours[len(ours)-1]), milliseconds(peer[0]), milliseconds(peer[len(peer)-1])),
		},
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// workerStart starts a StormWorker and tells how long it took.
func workerStart(ctx context.Context, s *stack.Stack, i int) (time.Duration, error) {
	begin := time.Now()
	w, err := start(ctx, s, fmt.Sprintf("warm-%d", i), int32(6701+i), stamp) //nolint:gosec // a port
	if err != nil {
		return 0, err
	}
	if err := until(ctx, s, w, api.ReasonCompleted); err != nil {
		return 0, err
	}
	line, err := os.ReadFile(s.Path("log", w.ContainerID(), "0.log"))
	if err != nil {
		return 0, fmt.Errorf("read the worker's log: %w", err)
	}
	fields := strings.Fields(string(line))
	if len(fields) != 4 {
		return 0, fmt.Errorf("the worker's log is %q", line)
	}
	at, err := stamped(fields[3])
	return at.Sub(begin), errors.Join(err, end(ctx, s, w))
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

func start(ctx context.Context, s *stack.Stack, name string, port int32, command []string) (*api.StormWorker, error) {
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: api.StormWorkerSpec{
			TopologyID: "bench-1-1608581491", Port: port, User: "nobody", Command: command,
			RestartPolicy: api.RestartNever, TerminationGracePeriodSeconds: new(int64(0)),
		},
	}
	if err := s.Client.Create(ctx, w); err != nil {
		return nil, fmt.Errorf("create StormWorker %s: %w", name, err)
	}
	return w, nil
}

// until waits until the worker's Ready has a reason.
func until(ctx context.Context, s *stack.Stack, w *api.StormWorker, reason string) error {
	return poll(ctx, func() (bool, error) {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(w), w); err != nil {
			return false, fmt.Errorf("get StormWorker %s: %w", w.Name, err)
		}
		c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
		return c != nil && c.Reason == reason, nil
	})
}

// end deletes a worker and waits until it is gone.
func end(ctx context.Context, s *stack.Stack, w *api.StormWorker) error {
	if err := s.Client.Delete(ctx, w); err != nil {
		return fmt.Errorf("delete StormWorker %s: %w", w.Name, err)
	}
	return poll(ctx, func() (bool, error) {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(w), w)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

// poll asks until the answer is yes, for a minute at most.
func poll(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
