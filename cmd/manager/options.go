package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/stormcell/stormcell/cmd/internal/daemon"
)

// options are the command line of a manager.
type options struct {
	daemon.Options
	qps           float32
	burst         int
	leaderElect   bool
	leaseDuration time.Duration
	connect       string
	health        string
}

func (o *options) register(f *pflag.FlagSet) {
	o.RegisterConfig(f)
	o.Register(f)
	f.StringVar(&o.health, "health-probe-bind-address", "127.0.0.1:9080", "`ADDRESS` of /healthz and /readyz; 0 for none")
	f.Float32Var(&o.qps, "kube-api-qps", 0, "sustained requests per second to the API server; 0 for no limit but the server's own")
	f.IntVar(&o.burst, "kube-api-burst", 0, "burst of requests to the API server; 0 for twice --kube-api-qps")
	f.StringVar(&o.connect, "connect-bind-address", ":9443", "`ADDRESS` to serve logs to the API server; 0 for none")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "elect one active manager of several")
	f.DurationVar(&o.leaseDuration, "node-lease-duration", 40*time.Second, "time without a heartbeat of its node-agent after which a node is lost; agents send one every 10s")
}

// complete checks the options and fills in what follows from others.
func (o *options) complete() error {
	const least = 20 * time.Second // two heartbeats
	switch {
	case o.qps < 0 || o.burst < 0:
		return fmt.Errorf("--kube-api-qps %v, --kube-api-burst %d: give 0 or more", o.qps, o.burst)
	case o.leaseDuration < least:
		return fmt.Errorf("--node-lease-duration %s: give at least %s, since agents send a heartbeat every 10s", o.leaseDuration, least)
	}
	if o.qps == 0 {
		o.qps = -1 // client-go's word for no limit
	}
	if o.burst == 0 {
		o.burst = int(2 * o.qps)
	}
	return nil
}
