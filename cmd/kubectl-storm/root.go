package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/client/clientset/versioned"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/live"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

const rootHelp = `Shows Storm workers, what they use and why they do not run, reads their logs, and
profiles their Java processes. All of it goes through the API server, with the
rights that you have there; no access to nodes is needed.`

func newRoot(streams genericiooptions.IOStreams) *cobra.Command {
	p := &plugin{flags: genericclioptions.NewConfigFlags(true), IOStreams: streams}
	root := &cobra.Command{
		Use:           "kubectl-storm",
		Short:         "Look after Storm workers",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl storm"},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newPs(p), newTop(p), newLogs(p), newProfile(p), newImages(p), newExplain(p), newVersion(p))
	return root
}

// plugin is what all commands share: how to reach the cluster, and the streams.
type plugin struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
}

// config connects as kubectl does with the same flags.
func (p *plugin) config() (*rest.Config, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "kubectl-storm/" + version
	config.QPS = -1 // the API server limits what it must
	return config, nil
}

// namespace is that of --namespace or of the kubeconfig's context.
func (p *plugin) namespace() (string, error) {
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("find the namespace: %w", err)
	}
	return namespace, nil
}

// objects reads and writes stormcell's objects.
func (p *plugin) objects() (stormcell.StormcellV1alpha1Interface, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	clients, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return clients.StormcellV1alpha1(), nil
}

// live asks nodes.
func (p *plugin) live() (*live.Client, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	return live.NewClient(config)
}

// onTerminal tells whether people read the output as it comes.
func (p *plugin) onTerminal() bool {
	f, ok := p.Out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colored tells whether the output is a terminal that wants colours.
func (p *plugin) colored() bool { return p.onTerminal() && printers.AllowsColorOutput(p.Out) }

// harmless is the output for what comes from the cluster as it is.
func (p *plugin) harmless() io.Writer {
	if p.onTerminal() {
		return screen.CleanWriter(p.Out)
	}
	return p.Out
}

// note tells on standard error what the output lacks.
func (p *plugin) note(format string, args ...any) {
	fmt.Fprintln(p.ErrOut, screen.Clean(fmt.Sprintf(format, args...)))
}
