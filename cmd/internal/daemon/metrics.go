package daemon

import (
	"fmt"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Metrics is what a daemon serves at its address of metrics: beside what is
// added, controller-runtime's, the Go runtime's and the process's.
func Metrics(program, version string) (prometheus.Registerer, error) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stormcell_build_info", Help: "1, with what this program is as labels.",
		ConstLabels: prometheus.Labels{"program": program, "version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	if err := ctrlmetrics.Registry.Register(build); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return ctrlmetrics.Registry, nil
}
