package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/stormcell/stormcell/internal/stormconf"
)

// options are the command line of a manager.
type options struct {
	config              string
	kubeconfig          string
	qps                 float32
	burst               int
	leaderElect         bool
	leaseDuration       time.Duration
	healthAddress       string
	metricsAddress      string
	logLevel, logFormat string
}

func (o *options) register(f *pflag.FlagSet) {
	f.StringVar(&o.config, "config", stormconf.DefaultPath, "Storm's `FILE` of configuration; reloaded when it changes")
	f.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "`FILE` that says how to reach the API server; inside a pod none is needed")
	f.Float32Var(&o.qps, "kube-api-qps", 0, "requests a second to the API server, for long; 0 for no limit but the server's own")
	f.IntVar(&o.burst, "kube-api-burst", 0, "requests a second to the API server, for a moment; 0 for twice --kube-api-qps")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "let only one of several managers work")
	f.DurationVar(&o.leaseDuration, "node-lease-duration", 40*time.Second, "for how long a node-agent may be silent until its node counts as lost; agents speak each 10s")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", "127.0.0.1:9080", "`ADDRESS` of /healthz and /readyz; 0 for none")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "`ADDRESS` of /metrics; 0 for none")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// complete checks the options and fills in what follows from others.
func (o *options) complete() error {
	const least = 20 * time.Second // two heartbeats
	switch {
	case o.qps < 0 || o.burst < 0:
		return fmt.Errorf("--kube-api-qps %v, --kube-api-burst %d: give 0 or more", o.qps, o.burst)
	case o.leaseDuration < least:
		return fmt.Errorf("--node-lease-duration %s: give at least %s, since agents speak each 10s", o.leaseDuration, least)
	}
	if o.qps == 0 {
		o.qps = -1 // client-go's word for no limit
	}
	if o.burst == 0 {
		o.burst = int(2 * o.qps)
	}
	return nil
}

// logger makes the log that all parts write to.
func (o *options) logger() (*slog.Logger, error) {
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
