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
	"github.com/stormcell/stormcell/internal/pod"
	"github.com/stormcell/stormcell/internal/stormconf"
)

const (
	// hostPrograms is where the image has what the machine may lack.
	hostPrograms = "/host-programs"
	// serviceAccount is where kubelet puts a pod's identity.
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// krb5Config names Kerberos' configuration to its library.
	krb5Config = "KRB5_CONFIG"
)

// leavePod goes on in the machine's name spaces. The files of the configuration
// are still those of the pod; all other paths are the machine's from now on.
func (o *options) leavePod() error {
	var err error
	if o.pod, err = pod.Leave(); err != nil {
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
func (o *options) launcher() (*stormconf.Launcher, []string, error) {
	if o.pod != nil {
		return stormconf.LoadLauncher(o.launcherConfig, stormconf.InPod())
	}
	return stormconf.LoadLauncher(o.launcherConfig)
}

// bringPrograms installs those of the image's programs that the machine has not
// got where it should, and changes runc and conmon to where they are.
func (o *options) bringPrograms(runc *string, log *slog.Logger) error {
	if o.pod == nil {
		return nil
	}
	for name, path := range map[string]*string{"runc": runc, "conmon": &o.conmon} {
		_, err := os.Stat(*path)
		if errors.Is(err, fs.ErrNotExist) {
			*path, err = o.pod.Install(filepath.Join(hostPrograms, name), o.installDir)
		}
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
	}
	log.Info("programs", "runc", *runc, "conmon", o.conmon)
	return nil
}
