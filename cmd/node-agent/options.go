package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostns"
)

// options are the command line of a node-agent.
type options struct {
	daemon.Options
	launcherConfig string
	nodeName       string
	conmon         string
	connectAddress string
	enterHost      bool
	probeDir       string
	// pod is what this program has left; nil if it was in none.
	pod *hostns.Pod
}

func (o *options) register(f *pflag.FlagSet) {
	o.registerPlaces(f)
	f.BoolVar(&o.enterHost, "enter-host", false, "leave this pod and run on the machine; configuration and secrets are still the pod's")
	f.StringVar(&o.nodeName, "node-name", "", "`NAME` of this machine's Node object (default $NODE_NAME, or the host name)")
	o.Register(f)
	f.StringVar(&o.connectAddress, "connect-bind-address", ":9444", "`ADDRESS` to serve logs to the manager; 0 for none")
	f.StringVar(&o.conmon, "conmon", "/usr/bin/conmon", "`PATH` of conmon, which watches containers")
}

// registerPlaces adds the flags by which the node's configuration is found.
func (o *options) registerPlaces(f *pflag.FlagSet) {
	o.RegisterConfig(f)
	f.StringVar(&o.launcherConfig, "launcher-config", config.DefaultLauncherPath, "`FILE` of the launcher's safety keys; it must belong to root")
	f.StringVar(&o.probeDir, "probe-dir", "", "`DIR` of the socket for probes, and of a link to this program (default the run root)")
}

// complete fills in what follows from the machine, and checks the rest.
func (o *options) complete() error {
	if o.enterHost {
		if err := o.leavePod(); err != nil {
			return err
		}
	}
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
