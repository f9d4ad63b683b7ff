package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/listen"
)

const (
	metricsPath = "/metrics"
	// certificateLife is longer than any daemon runs.
	certificateLife = 10 * 365 * 24 * time.Hour
)

// HasMetrics tells whether metrics are to be served.
func (o *Options) HasMetrics() bool { return o.MetricsAddress != "0" && o.MetricsAddress != "" }

// ServeMetrics serves metrics on a listener at MetricsAddress until ctx ends: on
// loopback to everybody on this machine; elsewhere by HTTPS, with a certificate that
// is created now, to those who have the right to get /metrics in the cluster.
func (o *Options) ServeMetrics(ctx context.Context, listener net.Listener, conf *rest.Config, log *slog.Logger) error {
	metrics := promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	serve := http.NewServeMux()
	if onLoopback(o.MetricsAddress) {
		serve.Handle(metricsPath, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			listen.Known(req.Context())
			metrics.ServeHTTP(w, req)
		}))
		return listen.Serve(ctx, listener, nil, serve, log)
	}
	guard, err := newMetricsGuard(conf)
	if err != nil {
		return err
	}
	serve.Handle(metricsPath, guard.before(metrics))
	pair, err := ownCertificate()
	if err != nil {
		return fmt.Errorf("certificate of metrics: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair}}
	return listen.Serve(ctx, listener, config, serve, log)
}

func ownCertificate() (tls.Certificate, error) {
	name, err := os.Hostname()
	if err != nil {
		return tls.Certificate{}, err
	}
	certificate, key, err := connect.SelfSigned(name, time.Now().Add(certificateLife))
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
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
