//go:build e2e

// Package e2e runs against a cluster that has stormcell installed, whatever
// cluster it is: it looks at what a user sees through the API server, and by a
// pod on every node at what the kernel says. The installation must allow the
// images of this package; hack/e2e.sh makes one that does.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/test/suite"
)

var (
	probeImage = flag.String("probe-image", "ghcr.io/stormcell/e2e-probe:v0.1.0", "`IMAGE` of test/e2e/probe, which the nodes have")
	nextImage  = flag.String("next-agent-image", "", "`IMAGE` of another node-agent, which the nodes have, to upgrade to and back")
	artifacts  = flag.String("artifacts", "e2e-artifacts", "`DIR` for what is kept when a test fails")
)

var (
	testenv env.Environment
	// cluster speaks to the API server as the admin of the kubeconfig.
	cluster client.WithWatch
	// namespace is the suite's own.
	namespace string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	conf, err := envconf.NewFromFlags()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	namespace = envconf.RandomName("stormcell-e2e", 20)
	testenv = env.NewWithConfig(conf.WithKubeconfigFile(kubeconfig(conf)))
	testenv.Setup(connect, readInstallation, makeNamespace, startProbes, publishImages)
	testenv.BeforeEachTest(emptyNamespace)
	testenv.AfterEachTest(keepArtifacts, emptyNamespace)
	testenv.Finish(removeNamespace)
	return testenv.Run(m)
}

// kubeconfig is the flag's, or as kubectl has it.
func kubeconfig(conf *envconf.Config) string {
	if file := conf.KubeconfigFile(); file != "" {
		return file
	}
	return os.Getenv("KUBECONFIG")
}

func connect(ctx context.Context, conf *envconf.Config) (context.Context, error) {
	kube, err := conf.NewClient()
	if err != nil {
		return ctx, fmt.Errorf("set KUBECONFIG to the cluster's: %w", err)
	}
	cluster, err = client.NewWithWatch(kube.RESTConfig(), client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		return ctx, fmt.Errorf("connect: %w", err)
	}
	return ctx, nil
}

// patience is how long a test waits for what must come.
const patience = suite.Patience

func expect(t *testing.T) *WithT { t.Helper(); return suite.Expect(t) }

// await is Eventually for what is done outside of a test.
func await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
