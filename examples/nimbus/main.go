// Nimbus plays the part of Storm's Nimbus: it runs the workers of a topology as
// StormWorkers, shows what becomes of them, and deletes them when it is
// interrupted. docs/clients.md explains it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/stormcell/stormcell/client/clientset/versioned"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "nimbus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	t := new(topology)
	flags := pflag.NewFlagSet("nimbus", pflag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to connect; else as KUBECONFIG or ~/.kube/config say, or as the pod that this runs in")
	flags.StringVar(&t.namespace, "namespace", "", "the workers' namespace; else as the kubeconfig or the pod says")
	flags.StringVar(&t.id, "topology", "clock-1-1764000000", "the topology's id")
	flags.Int32Var(&t.workers, "workers", 3, "how many workers")
	flags.Int32Var(&t.port, "port", 6700, "the first worker's port; each other's is one more")
	flags.StringVar(&t.user, "user", "stormdemo", "the user of the nodes that they run as")
	flags.StringVar(&t.image, "image", "", "the tag of their image; else the cluster's default image")
	patience := flags.Duration("patience", 2*time.Minute, "how long to wait until all run, and until all are gone")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if t.command = flags.Args(); len(t.command) == 0 {
		return errors.New(`say what the workers run, as in "nimbus -- java -version"`)
	}

	clients, err := connect(*kubeconfig, &t.namespace)
	if err != nil {
		return err
	}
	t.client = clients.StormcellV1alpha1().StormWorkers(t.namespace)
	// It outlives the interrupt: who deletes wants to see the end.
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	w, err := watch(watching, clients, t.namespace, t.id, *patience, out)
	if err != nil {
		return err
	}
	return errors.Join(t.runUntil(ctx, w, *patience), t.remove(watching, w, *patience))
}

// connect connects as a kubeconfig says, or as the pod that this runs in, and
// sets the namespace to theirs if it is none.
func connect(kubeconfig string, namespace *string) (versioned.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find a cluster: %w", err)
	}
	if *namespace == "" {
		if *namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("find the namespace to work in: %w", err)
		}
	}
	config.UserAgent = fieldManager
	clients, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return clients, nil
}
