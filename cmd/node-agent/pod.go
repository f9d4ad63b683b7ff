package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostns"
)

const (
	// hostPrograms has a directory with what the machine may lack, here and in
	// the image. hack/host-programs/build.sh makes it, and says why it has just
	// this place.
	hostPrograms = "/opt/stormcell"
	// serviceAccount is where kubelet puts a pod's identity.
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// krb5Config names Kerberos' configuration to its library.
	krb5Config = "KRB5_CONFIG"
)

// leavePod goes on in the machine's name spaces. The files of the configuration
// are still those of the pod; all other paths are the machine's from now on.
func (o *options) leavePod() error {
	var err error
	if o.pod, err = hostns.Leave(); err != nil {
		return err
	}
	for _, path := range []*string{&o.Config, &o.launcherConfig, &o.Kubeconfig} {
		*path = o.pod.Path(*path)
	}
	if path := os.Getenv(krb5Config); path != "" {
		return os.Setenv(krb5Config, o.pod.Path(path))
	}
	return nil
}

// client returns how to reach the API server.
func (o *options) client() (*rest.Config, error) {
	const qps, burst = 50, 100
	userAgent := api.AgentFieldOwner + "/" + version
	if o.pod == nil || o.Kubeconfig != "" {
		return o.Client(userAgent, qps, burst)
	}
	// As rest.InClusterConfig does it, which knows no other place.
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, rest.ErrNotInCluster
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, port),
		TLSClientConfig: rest.TLSClientConfig{CAFile: o.pod.Path(serviceAccount + "/ca.crt")},
		BearerTokenFile: o.pod.Path(serviceAccount + "/token"), // read again when it is renewed
		UserAgent:       userAgent, QPS: qps, Burst: burst,
	}, nil
}

// launcher reads the worker-launcher.cfg.
func (o *options) launcher() (*config.Launcher, []string, error) {
	if o.pod != nil {
		return config.LoadLauncher(o.launcherConfig, config.InPod())
	}
	return config.LoadLauncher(o.launcherConfig)
}

// bringPrograms installs the image's programs if the machine has not got runc
// or conmon where it should, and changes those paths to where they are.
func (o *options) bringPrograms(runc *string, log *slog.Logger) error {
	if o.pod == nil {
		return nil
	}
	found, err := filepath.Glob(o.pod.Path(hostPrograms + "/*"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("the pod's image must have one directory in %s, and has %d: use the image of the node-agent", hostPrograms, len(found))
	}
	dir := filepath.Join(hostPrograms, filepath.Base(found[0]))
	for name, path := range map[string]*string{"runc": runc, "conmon": &o.conmon} {
		if _, err := os.Stat(*path); !errors.Is(err, fs.ErrNotExist) {
			continue // whether it works, preflight tells
		}
		if err := o.pod.Install(dir); err != nil {
			return err
		}
		*path = filepath.Join(dir, name)
	}
	log.Info("programs", "runc", *runc, "conmon", o.conmon)
	if err := hostns.Prune(dir); err != nil {
		log.Error("programs of earlier images are left", "error", err)
	}
	return nil
}
