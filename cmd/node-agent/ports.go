package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/process"
)

// listenAgain is the pause before an address is tried again that another
// program has.
const listenAgain = 5 * time.Second

// metricsServer serves metrics once it can have its address, and does not keep
// the agent from its work until then: a worker, which has the node's network,
// may have the port.
type metricsServer struct {
	options server.Options
	config  *rest.Config
	// holder names who listens on a port.
	holder func(ctx context.Context, port int) string
	log    *slog.Logger
}

// Start implements manager.Runnable.
func (s *metricsServer) Start(ctx context.Context) error {
	for said := ""; ; {
		client, err := rest.HTTPClientFor(s.config)
		if err != nil {
			return fmt.Errorf("set up metrics: %w", err)
		}
		serve, err := server.NewServer(s.options, s.config, client)
		if err != nil || serve == nil { // nil: none are wanted
			return err
		}
		err = serve.Start(ctx)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		holder := s.holder(ctx, portOf(s.options.BindAddress))
		if holder != said {
			s.log.Warn("cannot serve metrics", "address", s.options.BindAddress, "error", err, "holder", holder,
				"cure", "end the holder, or choose another --metrics-bind-address; the address is tried again by itself")
			said = holder
		}
		if backoff.Wait(ctx, listenAgain) != nil {
			return nil //nolint:nilerr // the agent ends
		}
	}
}

func portOf(address string) int {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	port, _ := strconv.Atoi(text) // a name of a service has no worker that is found
	return port
}

// holderOf returns a function that names the worker which listens on a port.
func holderOf(e *engine.Engine, tree *cgroup.Tree) func(context.Context, int) string {
	return func(ctx context.Context, port int) string {
		sockets, err := process.Listeners(port)
		if err != nil || len(sockets) == 0 {
			return "a program that listens no more"
		}
		for _, w := range e.States() {
			_, info, err := e.Inspect(ctx, w.UID)
			if err != nil {
				continue
			}
			pids, err := tree.Members(info.Cgroup)
			if err != nil {
				continue
			}
			for pid := range pids {
				if process.Has(pid, sockets) {
					return fmt.Sprintf("worker %s/%s (pid %d)", w.Namespace, w.Name, pid)
				}
			}
		}
		return "a program that is no worker's"
	}
}
