package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idleMemoryGoal is the agent's resident memory, in bytes.
	idleMemoryGoal = 40e6
	idleTime       = time.Minute
)

// idle measures what the agent costs while its workers only run: its resident
// memory, against Docker's daemons with as many containers, and what it writes
// to the API server.
type idle struct{ workers int }

func (r *idle) name() string { return "idle" }

func (r *idle) register(set *flag.FlagSet) {
	set.IntVar(&r.workers, "idle-workers", 50, "idle: how many `workers` to have")
}

func (r *idle) measure(ctx context.Context, log io.Writer) (_ []figure, err error) {
	a, err := startArena(ctx, log, r.name())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stop(context.WithoutCancel(ctx))) }()
	fmt.Fprintf(log, "idle: %d workers of each, then a minute of rest\n", r.workers)
	ids, _, err := a.containers(ctx, r.workers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.discard(context.WithoutCancel(ctx), ids)) }()
	crowd, _, err := a.workers(ctx, r.workers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.dismiss(context.WithoutCancel(ctx), crowd)) }()
	written, err := a.restingWrites(ctx)
	if err != nil {
		return nil, err
	}
	memory, err := a.memory()
	if err != nil {
		return nil, err
	}
	return []figure{memory.figure(r.workers), written.figure(r.workers)}, nil
}

// writes are the requests of a minute that changed objects, by resource.
type writes map[string]float64

// restingWrites counts, from the API server's own metrics, what is written in a
// minute in which nobody asks for anything. It begins when what the start of the
// workers is told with has been written: events and the last status.
func (a *arena) restingWrites(ctx context.Context) (writes, error) {
	before, err := a.settled(ctx)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, idleTime); err != nil {
		return nil, err
	}
	after, err := a.writes(ctx)
	if err != nil {
		return nil, err
	}
	for resource := range after {
		after[resource] -= before[resource]
	}
	return after, nil
}

// settled returns the counts once ten seconds have added nothing to stormcell's.
func (a *arena) settled(ctx context.Context) (writes, error) {
	for {
		before, err := a.writes(ctx)
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, 10*time.Second); err != nil {
			return nil, err
		}
		after, err := a.writes(ctx)
		if err != nil || after.ours() == before.ours() {
			return after, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *arena) writes(ctx context.Context) (writes, error) {
	text, err := a.stack.APIMetrics(ctx)
	if err != nil {
		return nil, err
	}
	return countWrites(text)
}

// countWrites sums up the counters of requests that change objects in the API
// server's metrics.
func countWrites(metrics []byte) (writes, error) {
	w := writes{}
	for line := range bytes.Lines(metrics) {
		labels, value, ok := strings.Cut(strings.TrimSpace(string(line)), "} ")
		if !ok || !strings.HasPrefix(labels, "apiserver_request_total{") {
			continue
		}
		if !slices.Contains([]string{"POST", "PUT", "PATCH", "APPLY", "DELETE"}, label(labels, "verb")) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics of the API server: %w", err)
		}
		w[label(labels, "resource")] += n
	}
	if len(w) == 0 {
		return nil, errors.New("metrics of the API server: no apiserver_request_total")
	}
	return w, nil
}

// label is the value of a label in a line of metrics.
func label(labels, name string) string {
	_, rest, _ := strings.Cut(labels, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// ours are those about stormcell's objects and events.
func (w writes) ours() float64 {
	return w["stormworkers"] + w["stormimages"] + w["stormnodes"] + w["events"]
}

func (w writes) figure(workers int) figure {
	return figure{
		Name: fmt.Sprintf("API writes in a minute, %d idle workers", workers), Unit: "writes",
		Ours: w.ours(), Goal: "none", Pass: w.ours() == 0,
		Details: []string{fmt.Sprintf("of stormcell's objects and events, by the API server's count; beside them %.0f renewals of Leases, one in 10 s by the agent", w["leases"])},
	}
}

// memory is the resident memory of daemons, in bytes.
type memory struct {
	agent, conmons, docker, shims int64
	// program is the part of the agent's that is pages of its program's file.
	program int64
}

func (a *arena) memory() (m memory, err error) {
	if m.agent, m.program, err = resident(a.stack.AgentPID()); err != nil {
		return m, err
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return m, err
	}
	for _, c := range commands {
		line, err := os.ReadFile(c)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(c)))
		if err != nil {
			return m, err
		}
		program, _, _ := strings.Cut(string(line), "\x00")
		sum := map[string]*int64{
			"conmon": &m.conmons, "dockerd": &m.docker, "containerd": &m.docker, "containerd-shim-runc-v2": &m.shims,
		}[filepath.Base(program)]
		if sum == nil || !strings.Contains(string(line), a.dir) && !strings.Contains(string(line), a.stack.Dir) {
			continue
		}
		n, _, err := resident(pid)
		if err != nil {
			continue // it has ended
		}
		*sum += n
	}
	return m, nil
}

// resident is the resident memory of a process, and the part of it that is
// pages of files, in bytes.
func resident(pid int) (all, files int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	var size int64
	if _, err := fmt.Sscan(string(text), &size, &all, &files); err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	page := int64(unix.Getpagesize())
	return all * page, files * page, nil
}

func (m memory) figure(workers int) figure {
	const mb = 1e6
	return figure{
		Name: fmt.Sprintf("resident memory of the agent, %d idle workers", workers), Unit: "MB",
		Ours: float64(m.agent) / mb, Peer: float64(m.docker) / mb, Ratio: float64(m.docker) / float64(m.agent),
		Goal: "under 40 MB", Pass: float64(m.agent) < idleMemoryGoal,
		Details: []string{
			fmt.Sprintf("of that, %.1f MB are pages of the program's file", float64(m.program)/mb),
			"the peer is dockerd and containerd with as many containers",
			fmt.Sprintf("beside them, per worker: conmon %.1f MB, containerd's shim %.1f MB", float64(m.conmons)/mb/float64(workers), float64(m.shims)/mb/float64(workers)),
		},
	}
}
