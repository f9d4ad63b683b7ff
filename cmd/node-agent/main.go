// Command node-agent runs the StormWorkers of one node: it localizes images, mounts
// their layers, runs containers and reports their state. It runs as root on every
// node.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/connect/node"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/engine"
)

// version is set by the linker.
var version = "unknown"

func main() { daemon.Main(command()) }

func command() *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use:   "node-agent",
		Short: "Run the StormWorkers of this node",
		Long: `node-agent runs the StormWorkers that are bound to this node. It fetches their
images from the store, mounts the squashfs layers, starts each worker with runc
under conmon, and reports to the API server. It needs root. When it stops, workers
continue to run; when it starts, it takes over the running ones.`,
		Example: `  # On a node, with Storm's own configuration:
  node-agent --kubeconfig /etc/stormcell/kubeconfig

  # In a privileged pod with hostPID and hostNetwork:
  node-agent --enter-host

  # With files of its own, for a node whose Node object is named n17:
  node-agent --config /opt/storm.yaml --launcher-config /opt/worker-launcher.cfg \
    --node-name n17 --kubeconfig /opt/kubeconfig`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			log, err := o.Logger()
			if err != nil {
				return err
			}
			return run(c.Context(), o, log)
		},
	}
	o.register(c.Flags())
	c.AddCommand(append(printCommands(), probeCommand())...)
	return c
}

// run takes over what is on the node, then follows the API server until ctx ends.
func run(ctx context.Context, o *options, log *slog.Logger) error {
	if err := daemon.LimitMemory(os.Getenv); err != nil {
		return err
	}
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	changes := &changes{prefetch: agent.PrefetchChanges{Node: o.nodeName}}
	parts, err := assemble(ctx, o, log, changes)
	if err != nil {
		return err
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	lock, err := lockNode(parts.runRoot)
	if err != nil {
		return err
	}
	defer lock.Close()
	// Workers are taken over before the API server is asked: they must not
	// wait for it.
	ctx, cancel := context.WithCancel(ctx)
	defer parts.engine.Wait()
	defer cancel()
	if err := parts.recover(ctx, log); err != nil {
		return fmt.Errorf("take over what is on this node: %w", err)
	}
	// Before the first report: a node that has Docker must not lack it for a moment.
	parts.presence.Look(ctx)
	if err := answerManager(ctx, mgr, o, parts, log); err != nil {
		return err
	}
	if err := errors.Join(register(mgr, o, parts, changes, log), parts.metrics.register()); err != nil {
		return err
	}
	log.Info("node-agent is ready", "node", o.nodeName, "version", version, "workers", len(parts.engine.States()))
	return mgr.Start(ctx)
}

func newManager(o *options) (ctrl.Manager, error) {
	conf, err := o.client()
	if err != nil {
		return nil, err
	}
	options := agent.ManagerOptions(o.nodeName)
	options.Metrics.BindAddress = "0" // metricsServer serves them
	mgr, err := ctrl.NewManager(conf, options)
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, nil
}

// answerManager lets the manager ask for logs, unless it shall not.
func answerManager(ctx context.Context, mgr ctrl.Manager, o *options, p *parts, log *slog.Logger) error {
	if o.connectAddress == "0" {
		return nil
	}
	server, err := node.NewServer(o.connectAddress, p.connect, mgr.GetConfig(), p.ports.told(forManager, o.connectAddress), log)
	if err != nil {
		return err
	}
	p.ports.server = server
	if err := server.Open(ctx); err != nil {
		return err
	}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("set up the server for the manager: %w", err)
	}
	return nil
}

// register adds the reconcilers, the heartbeat and the probes to the manager.
func register(mgr ctrl.Manager, o *options, p *parts, changes *changes, log *slog.Logger) error {
	heartbeat := &agent.Heartbeat{Client: mgr.GetClient(), Node: o.nodeName}
	r := &agent.Reconciler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner),
		Engine: p.engine, Node: o.nodeName, Heartbeat: heartbeat, Changes: &changes.workers,
	}
	if err := r.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the reconciler: %w", err)
	}
	prefetcher := &agent.Prefetcher{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner), Queue: p.prefetch, Changes: &changes.prefetch,
		Ports: p.ports, Runtimes: p.presence.Names,
	}
	if err := prefetcher.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the reconciler of prefetch: %w", err)
	}
	profiler := &agent.Profiler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner), Profiles: p.profiles, Changes: &changes.profiles,
	}
	if err := profiler.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the reconciler of profiles: %w", err)
	}
	if err := mgr.Add(heartbeat); err != nil {
		return fmt.Errorf("set up the heartbeat: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(p.watcher.Run)); err != nil {
		return fmt.Errorf("set up the configuration's watcher: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(p.presence.Run)); err != nil {
		return fmt.Errorf("set up the looks at runtimes: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(p.localizer.Run)); err != nil {
		return fmt.Errorf("set up the upkeep of the layer cache: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(p.cleanup.run)); err != nil {
		return fmt.Errorf("set up the removal of old artifacts: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(p.storage.Run)); err != nil {
		return fmt.Errorf("set up the watch of the disks: %w", err)
	}
	if err := mgr.Add(saveMemory(mgr.GetLogger())); err != nil {
		return fmt.Errorf("set up the release of memory: %w", err)
	}
	if err := mgr.Add(&metricsServer{&o.Options, mgr.GetConfig(), p.ports, log}); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	if err := mgr.Add(&healthServer{cmp.Or(o.probeDir, p.runRoot), healthz.Ping, daemon.Synced(mgr)}); err != nil {
		return fmt.Errorf("set up the answers to probes: %w", err)
	}
	return nil
}

var _ agent.Engine = (*engine.Engine)(nil)
