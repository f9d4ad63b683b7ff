// Package cluster gives tests a real API server with stormcell's CRDs in it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// assetsVariable names the folder of etcd, kube-apiserver and kubectl; without
// it they are taken from bin/k8s, where "make kubernetes" builds them.
const assetsVariable = "KUBEBUILDER_ASSETS"

// Cluster is a running etcd and kube-apiserver.
type Cluster struct {
	environment *envtest.Environment
	// Config connects as the cluster's admin, without a rate limit.
	Config *rest.Config
	// proxy is the folder of the front proxy's certificate.
	proxy string
}

// Root is the root folder of the repository.
func Root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..")
}

// Kubectl is the path of the kubectl that belongs to the cluster.
func Kubectl() string { return filepath.Join(assets(), "kubectl") }

func assets() string {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir
	}
	return filepath.Join(Root(), "bin", "k8s")
}

// Start starts a cluster and installs config/crd/bases; the caller calls Stop.
func Start() (*Cluster, error) {
	environment := &envtest.Environment{
		BinaryAssetsDirectory: assets(),
		CRDDirectoryPaths:     []string{filepath.Join(Root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	proxy, err := makeFrontProxy(environment.ControlPlane.GetAPIServer().Configure())
	if err != nil {
		return nil, err
	}
	config, err := environment.Start()
	if err != nil {
		os.RemoveAll(proxy)
		return nil, fmt.Errorf("start the API server of %s (make kubernetes builds it): %w", assets(), err)
	}
	config.QPS = -1
	return &Cluster{environment: environment, Config: config, proxy: proxy}, nil
}

// Metrics returns the API server's metrics in Prometheus' text format.
func (c *Cluster) Metrics(ctx context.Context) ([]byte, error) {
	clients, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	text, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the API server's metrics: %w", err)
	}
	return text, nil
}

// Stop ends the cluster and removes its files.
func (c *Cluster) Stop() error {
	if err := errors.Join(c.environment.Stop(), os.RemoveAll(c.proxy)); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	return nil
}

// Main runs a package's tests with a cluster, for TestMain.
func Main(m *testing.M, use func(*Cluster)) int {
	c, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := c.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	use(c)
	return m.Run()
}
