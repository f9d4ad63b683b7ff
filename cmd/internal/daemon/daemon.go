// Package daemon has what the manager and the node-agent share as programs: flags,
// logging, the connection to the API server, probes and shutdown.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/stormcell/stormcell/internal/config"
)

// Options are the flags that both daemons have.
type Options struct {
	// Config is the path of the storm.yaml, Kubeconfig that of the API
	// server's address and the daemon's identity; "" inside a pod.
	Config, Kubeconfig string
	// MetricsAddress is listened on; "0" is none.
	MetricsAddress      string
	logLevel, logFormat string
}

// RegisterConfig adds the flag that names the storm.yaml to f.
func (o *Options) RegisterConfig(f *pflag.FlagSet) {
	f.StringVar(&o.Config, "config", config.DefaultPath, "Storm's `FILE` of configuration; reloaded when it changes")
}

// Register adds the other flags to f.
func (o *Options) Register(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "`FILE` with the address and credentials of the API server; not needed in a pod")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", "0", "`ADDRESS` of /metrics; HTTPS and authorized, unless it is on loopback; 0 for none")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// Logger makes the log that all parts of the daemon write to.
func (o *Options) Logger() (*slog.Logger, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: give debug, info, warn or error", o.logLevel)
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, handlerOptions)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, handlerOptions)), nil
	default:
		return nil, fmt.Errorf("--log-format %q: give text or json", o.logFormat)
	}
}

// Client returns how to reach the API server, as userAgent, with at most qps
// requests a second for long and burst for a moment; a negative qps is no limit.
func (o *Options) Client(userAgent string, qps float32, burst int) (*rest.Config, error) {
	conf, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reach the API server (--kubeconfig %q): %w", o.Kubeconfig, err)
	}
	conf.UserAgent, conf.QPS, conf.Burst = userAgent, qps, burst
	return conf, nil
}

// Synced returns a check that mgr knows the objects that it works on.
func Synced(mgr ctrl.Manager) healthz.Checker {
	return func(req *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(req.Context()) {
			return errors.New("the caches are not synced yet")
		}
		return nil
	}
}

// LogNotes logs what an operator should know of the configuration.
func LogNotes(log *slog.Logger, notes []string) {
	for _, n := range notes {
		log.Info("configuration", "note", n)
	}
}

// Main runs a daemon's command until it ends or a signal ends it.
func Main(c *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := c.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name(), err)
		os.Exit(1)
	}
}
