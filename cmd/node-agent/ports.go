package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/connect/node"
	"github.com/stormcell/stormcell/internal/listen"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/process"
)

// What the agent's ports are for, as metrics and messages have it.
const (
	forManager = "connect"
	forMetrics = "metrics"
)

// uses are by a port's use what it is called, and the flag that chooses it.
var uses = map[string]struct{ name, flag string }{
	forManager: {"the manager", "--connect-bind-address"},
	forMetrics: {"metrics", "--metrics-bind-address"},
}

// ports is how the agent's ports fare. None of them is needed for the agent's work:
// a worker, which has the node's network and outlives the agent, may have taken one.
type ports struct {
	// holder names who listens on a port.
	holder func(ctx context.Context, port int) string
	// changed is called when there is news.
	changed func()
	log     *slog.Logger
	// server answers the manager; nil if it shall not.
	server *node.Server

	mu    sync.Mutex
	agent int               // the port for the manager; 0 for none
	taken map[string]string // by use, what is told of a port that another program has
}

var _ agent.Ports = (*ports)(nil)

// told returns what takes note of the states of a port.
func (p *ports) told(use, address string) func(context.Context, listen.State) {
	return func(ctx context.Context, s listen.State) {
		said := ""
		if s.Taken {
			holder := p.holder(ctx, portOf(address))
			said = takenMessage(use, address, holder, s.Port)
			if p.says(use) != said {
				p.log.Warn("a port is taken", "use", use, "address", address, "holder", holder, "instead", s.Port,
					"cure", "end the holder, or choose another "+uses[use].flag+"; the port is tried again by itself")
			}
		}
		if p.note(use, said, s.Port) {
			p.changed()
		}
	}
}

func takenMessage(use, address, holder string, instead int) string {
	message := fmt.Sprintf("port %d for %s is taken by %s", portOf(address), uses[use].name, holder)
	if instead != 0 {
		message += fmt.Sprintf(", and the agent listens on port %d instead", instead)
	}
	return message
}

func (p *ports) says(use string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken[use]
}

// note keeps what is so of a port, and tells whether it is news.
func (p *ports) note(use, said string, port int) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	news = p.taken[use] != said
	if use == forManager {
		news = news || p.agent != port
		p.agent = port
	}
	if p.taken == nil {
		p.taken = map[string]string{}
	}
	p.taken[use] = said
	return news
}

// Agent implements agent.Ports.
func (p *ports) Agent() *api.StormNodeAgent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil || p.agent == 0 {
		return nil
	}
	return &api.StormNodeAgent{Port: int32(p.agent), CABundle: p.server.Certificate()} //nolint:gosec // a port
}

// Taken implements agent.Ports.
func (p *ports) Taken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, use := range slices.Sorted(maps.Keys(p.taken)) {
		if said := p.taken[use]; said != "" {
			all = append(all, said)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "; ") + "; end what has it, or choose another port; it is tried again every few seconds"
}

// Trust implements agent.Ports.
func (p *ports) Trust(bundle []byte) {
	if p.server != nil {
		p.server.Trust(bundle)
	}
}

// byUse tells, for metrics, of each port whether another program has it.
func (p *ports) byUse() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := map[string]bool{forManager: false, forMetrics: false}
	for use, said := range p.taken {
		taken[use] = said != ""
	}
	return taken
}

// metricsServer serves metrics once it can have its port.
type metricsServer struct {
	options *daemon.Options
	config  *rest.Config
	ports   *ports
	log     *slog.Logger
}

// Start implements manager.Runnable.
func (s *metricsServer) Start(ctx context.Context) error {
	if !s.options.HasMetrics() {
		return nil
	}
	port := listen.NewPort(s.options.MetricsAddress, false, s.ports.told(forMetrics, s.options.MetricsAddress))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := port.Run(ctx); err != nil {
			return fmt.Errorf("listen for metrics (--metrics-bind-address): %w", err)
		}
		return nil
	})
	group.Go(func() error { return s.options.ServeMetrics(ctx, port, s.config, s.log) })
	return group.Wait()
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
