// Package cluster gives tests a real API server with stormcell's CRDs in it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// assetsVariable names the folder of etcd, kube-apiserver and kubectl; without
// it they are taken from bin/k8s, where "make kubernetes" builds them.
const assetsVariable = "KUBEBUILDER_ASSETS"

// patience is how long each part of the start and of the end may take. A machine
// that is busy with other tests is slow.
const patience = 2 * time.Minute

// Cluster is a running etcd and kube-apiserver.
type Cluster struct {
	plane *envtest.ControlPlane
	// Config connects as the cluster's admin, without a rate limit.
	Config *rest.Config
	// dir has the front proxy's certificate, and the daemons' logs.
	dir  string
	logs []io.Closer
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
func Start(ctx context.Context) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "stormcell-cluster-")
	if err != nil {
		return nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	c := &Cluster{dir: dir}
	if err := c.start(ctx); err != nil {
		err = fmt.Errorf("start the API server of %s (make kubernetes builds it): %w%s%s", assets(), err, c.log(etcd), c.log(apiserver))
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// start does what envtest.Environment does, whose waits cannot all be made
// longer: it gives the default namespace five seconds.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.configure(Loopback()); err != nil {
		return err
	}
	if err := c.plane.Start(); err != nil {
		return err
	}
	admin, err := c.plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, &rest.Config{QPS: -1})
	if err != nil {
		return err
	}
	c.Config = admin.Config()
	if err := c.awaitDefaultNamespace(ctx); err != nil {
		return err
	}
	_, err = envtest.InstallCRDs(c.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(Root(), "config", "crd", "bases")}, ErrorIfPathMissing: true, MaxTime: patience,
	})
	return err
}

func (c *Cluster) awaitDefaultNamespace(ctx context.Context) error {
	clients, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		_, last = clients.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for namespace %s: %w: %w", metav1.NamespaceDefault, err, last)
	}
	return nil
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
	var errs []error
	if c.plane != nil {
		errs = append(errs, c.plane.Stop())
	}
	for _, log := range c.logs {
		errs = append(errs, log.Close())
	}
	if err := errors.Join(append(errs, os.RemoveAll(c.dir))...); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	return nil
}

// Main runs a package's tests with a cluster, for TestMain.
func Main(m *testing.M, use func(*Cluster)) int {
	c, err := Start(context.Background())
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
