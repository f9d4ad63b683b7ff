package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stormcell/stormcell/internal/stormconf"
)

// options are the command line of a node-agent.
type options struct {
	config, launcherConfig string
	nodeName               string
	kubeconfig             string
	healthAddress          string
	metricsAddress         string
	conmon                 string
	logLevel, logFormat    string
}

func (o *options) register(f *pflag.FlagSet) {
	f.StringVar(&o.config, "config", stormconf.DefaultPath, "Storm's `FILE` of configuration; reloaded when it changes")
	f.StringVar(&o.launcherConfig, "launcher-config", stormconf.DefaultLauncherPath, "`FILE` of the launcher's safety keys; it must be root's")
	f.StringVar(&o.nodeName, "node-name", "", "`NAME` of this machine's Node object (default $NODE_NAME, or the host name)")
	f.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "`FILE` that says how to reach the API server; inside a pod none is needed")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", "127.0.0.1:9081", "`ADDRESS` of /healthz and /readyz; 0 for none")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "`ADDRESS` of /metrics; 0 for none")
	f.StringVar(&o.conmon, "conmon", "/usr/bin/conmon", "`PATH` of conmon, which watches containers")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// complete fills in what follows from the machine, and checks the rest.
func (o *options) complete() error {
	if o.nodeName == "" {
		o.nodeName = os.Getenv("NODE_NAME")
	}
	if o.nodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find the node's name (give it with --node-name): %w", err)
		}
		o.nodeName = strings.ToLower(name)
	}
	if problems := validation.IsDNS1123Subdomain(o.nodeName); len(problems) > 0 {
		return fmt.Errorf("--node-name %q: %s", o.nodeName, strings.Join(problems, "; "))
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
