package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The daemons, which are programs of assets.
const (
	etcd      = "etcd"
	apiserver = "kube-apiserver"
)

// Loopback is one of the many addresses of this machine's loopback, so that
// ports need not be looked for: one that is free when it is looked for may be
// another's before a daemon listens on it.
func Loopback() string {
	//nolint:gosec // no secret
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// configure says how the daemons run, on an address of their own.
func (c *Cluster) configure(address string) error {
	logs := map[string]*os.File{}
	for _, name := range []string{etcd, apiserver} {
		log, err := os.Create(c.logFile(name))
		if err != nil {
			return err
		}
		c.logs = append(c.logs, log)
		logs[name] = log
	}
	url := func(port string) *url.URL { return &url.URL{Scheme: "http", Host: net.JoinHostPort(address, port)} }
	store := &envtest.Etcd{
		Path: filepath.Join(assets(), etcd), URL: url("2379"), StartTimeout: patience, StopTimeout: patience, Err: logs[etcd],
	}
	store.Configure().Set("listen-peer-urls", url("2380").String())
	server := &envtest.APIServer{
		Path: filepath.Join(assets(), apiserver), StartTimeout: patience, StopTimeout: patience, Err: logs[apiserver],
	}
	server.Address, server.Port = address, "6443"
	if err := makeFrontProxy(c.dir, server.Configure()); err != nil {
		return err
	}
	c.plane = &envtest.ControlPlane{Etcd: store, APIServer: server, KubectlPath: Kubectl()}
	return nil
}

func (c *Cluster) logFile(name string) string { return filepath.Join(c.dir, name+".log") }

// log is the end of a daemon's log, with a heading, or nothing.
func (c *Cluster) log(name string) string {
	const most = 2 << 10
	content, err := os.ReadFile(c.logFile(name))
	if err != nil || len(content) == 0 {
		return ""
	}
	return fmt.Sprintf("\nthe end of the log of %s:\n%s", name, content[max(0, len(content)-most):])
}
