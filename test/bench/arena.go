package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/stormcell/stormcell/test/stack"
)

// arena is Docker and stormcell whole on this machine, both with the same small
// image.
type arena struct {
	dir    string
	docker *docker
	stack  *stack.Stack
}

// startArena starts both; the caller calls stop.
func startArena(ctx context.Context, log io.Writer, row string) (a *arena, err error) {
	fmt.Fprintf(log, "%s: starting Docker, an API server, the manager and the node-agent\n", row)
	a = new(arena)
	if a.dir, err = os.MkdirTemp("/var/tmp", "stormcell-bench-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop(context.WithoutCancel(ctx)))
		}
	}()
	if a.docker, err = startDocker(ctx, filepath.Join(a.dir, "docker")); err != nil {
		return nil, err
	}
	if a.stack, err = stack.Start(ctx); err != nil {
		return nil, err
	}
	if _, err := a.docker.Run(ctx, "load", "--input", a.stack.Path("image.tar")); err != nil {
		return nil, err
	}
	return a, a.stack.StartAgent()
}

func (a *arena) stop(ctx context.Context) error {
	var errs []error
	if a.stack != nil {
		errs = append(errs, a.stack.Stop())
	}
	if a.docker != nil {
		errs = append(errs, a.docker.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(a.dir))...)
}
