package daemon

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// MetricsServer returns how metrics are served: on loopback to everybody on this
// machine; elsewhere by HTTPS, with a certificate that is created at the start, to
// those who have the right to get /metrics in the cluster.
func (o *Options) MetricsServer() server.Options {
	options := server.Options{BindAddress: o.MetricsAddress}
	if o.MetricsAddress == "0" || onLoopback(o.MetricsAddress) {
		return options
	}
	options.SecureServing, options.FilterProvider = true, guardMetrics
	options.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.MinVersion, c.NextProtos = tls.VersionTLS13, []string{"http/1.1"} }}
	return options
}

// onLoopback tells whether nobody beyond this machine reaches an address.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// Metrics is what a daemon serves at its address of metrics: beside what is
// added, controller-runtime's, the Go runtime's and the process's.
func Metrics(program, version string) (prometheus.Registerer, error) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stormcell_build_info", Help: "Always 1; the labels describe this program.",
		ConstLabels: prometheus.Labels{"program": program, "version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	if err := ctrlmetrics.Registry.Register(build); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return ctrlmetrics.Registry, nil
}
