// Command manager is the cluster side of stormcell: it checks images against the
// allowlist, looks up their tags in the image store, binds workers to nodes and detects
// lost nodes. It needs no root.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/controllers"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/connect/gateway"
	"github.com/stormcell/stormcell/internal/kube/kinds"
)

// version is set by the linker.
var version = "unknown"

func main() { daemon.Main(command()) }

func command() *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use:   "manager",
		Short: "Check images, and bind StormWorkers to nodes",
		Long: `manager is the cluster side of stormcell. It looks up the tag of each StormImage in
the image store, if storm.oci.allowed.images permits it. It admits each StormWorker,
pins its image and binds it to a node. It marks the workers of nodes whose agent is
silent. It needs no root. Several may run: one of them is active.`,
		Example: `  # In a pod, with Storm's own configuration mounted at /etc/storm/storm.yaml:
  manager

  # On one's own machine, alone:
  manager --config ./storm.yaml --kubeconfig ~/.kube/config --leader-elect=false`,
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
	return c
}

// run works until ctx ends or leadership is lost.
func run(ctx context.Context, o *options, log *slog.Logger) error {
	if err := daemon.LimitMemory(os.Getenv); err != nil {
		return err
	}
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(log)
	conf, notes, err := config.Load(o.Config)
	daemon.LogNotes(log, notes)
	if err != nil {
		return err
	}
	watcher := watch(o.Config, conf, log)
	resolver := &images{current: watcher.Current, log: log}
	if _, err := resolver.follow(); err != nil {
		return err // at once, rather than on every image
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	registry, err := daemon.Metrics("manager", version)
	if err != nil {
		return err
	}
	settings := func() controllers.Settings {
		c := watcher.Current()
		return controllers.Settings{
			Images: c.Images, DockerImages: c.DockerImages, Runtime: cmp.Or(api.Runtime(c.Runtime), api.RuntimeRunc), RefreshInterval: halfInterval(c.Store.RefreshInterval),
		}
	}
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Settings: settings, Changes: watcher.Changes(), Resolver: resolver,
		LeaseDuration: o.leaseDuration, Clock: clock.RealClock{}, Metrics: registry,
	})
	if err != nil {
		return err
	}
	if o.connect != "0" {
		if err := gateway.Setup(ctx, mgr, o.connect, log); err != nil {
			return err
		}
	}
	if err := serveMetrics(ctx, mgr, o, log); err != nil {
		return err
	}
	if err := mgr.Add(everywhere(watcher.Run)); err != nil {
		return fmt.Errorf("set up the configuration's watcher: %w", err)
	}
	log.Info("manager starts", "version", version, "store", conf.Store.URL, "images", conf.Images.Allowed, "dockerImages", conf.DockerImages.Allowed)
	return mgr.Start(ctx)
}

// serveMetrics opens the address of metrics, if there is one.
func serveMetrics(ctx context.Context, mgr ctrl.Manager, o *options, log *slog.Logger) error {
	if !o.HasMetrics() {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.MetricsAddress)
	if err != nil {
		return fmt.Errorf("listen for metrics (--metrics-bind-address): %w", err)
	}
	serve := func(ctx context.Context) error { return o.ServeMetrics(ctx, listener, mgr.GetConfig(), log) }
	if err := mgr.Add(everywhere(serve)); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	return nil
}

// everywhere is a part that runs whether or not this manager leads.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

func watch(path string, conf *config.Config, log *slog.Logger) *config.Watcher {
	return config.NewWatcher(path, conf, config.WatchOptions{
		Reloaded: func(_ *config.Config, notes []string) {
			log.Info("configuration reloaded", "file", path)
			daemon.LogNotes(log, notes)
		},
		Failed: func(err error) { log.Error("configuration", "error", err) },
	})
}

func newManager(o *options) (ctrl.Manager, error) {
	conf, err := o.Client(api.ManagerFieldOwner+"/"+version, o.qps, o.burst)
	if err != nil {
		return nil, err
	}
	objects := controllers.CacheOptions()
	gateway.CacheObjects(objects.ByObject)
	mgr, err := ctrl.NewManager(conf, ctrl.Options{
		Scheme: kinds.Scheme(), Cache: objects,
		HealthProbeBindAddress: o.health,
		Metrics:                server.Options{BindAddress: "0"}, // serveMetrics does
		LeaderElection:         o.leaderElect, LeaderElectionID: api.ManagerFieldOwner,
		LeaderElectionNamespace: api.SystemNamespace, LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("alive", healthz.Ping), mgr.AddReadyzCheck("objects", daemon.Synced(mgr))); err != nil {
		return nil, fmt.Errorf("set up probes: %w", err)
	}
	return mgr, nil
}
