package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// burst measures the time from the creation of many StormWorkers at once until
// the process of each runs; and the same for as many "docker run" at once.
type burst struct{ workers, runs int }

func (r *burst) name() string { return "burst" }

func (r *burst) register(set *flag.FlagSet) {
	set.IntVar(&r.workers, "burst-workers", 100, "burst: how many `workers` to start at once")
	set.IntVar(&r.runs, "burst-runs", 3, "burst: how many `times` to do so")
}

func (r *burst) measure(ctx context.Context, log io.Writer) (_ []figure, err error) {
	a, err := startArena(ctx, log, r.name())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stop(context.WithoutCancel(ctx))) }()
	var ours, docker []time.Duration
	for i := range r.runs {
		fmt.Fprintf(log, "burst: %d of %d\n", i+1, r.runs)
		begin := time.Now()
		crowd, last, err := a.workers(ctx, r.workers)
		if err != nil {
			return nil, err
		}
		ours = append(ours, last.Sub(begin))
		if err := a.dismiss(ctx, crowd); err != nil {
			return nil, err
		}
		begin = time.Now()
		ids, last, err := a.containers(ctx, r.workers)
		if err != nil {
			return nil, err
		}
		docker = append(docker, last.Sub(begin))
		if err := a.discard(ctx, ids); err != nil {
			return nil, err
		}
	}
	o, d := median(ours), median(docker)
	return []figure{{
		Name: fmt.Sprintf("%d workers applied at once: until all run", r.workers), Unit: "s",
		Ours: o.Seconds(), Peer: d.Seconds(), Ratio: float64(d) / float64(o),
		Goal: "faster than docker run of as many", Pass: o < d,
		Details: []string{fmt.Sprintf("median of %d; fastest and slowest: ours %s, docker run %s", r.runs, spread(ours), spread(docker))},
	}}, nil
}
