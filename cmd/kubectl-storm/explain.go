package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/explain"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

const explainHelp = `Explains in a sentence why a worker does not run, or that it runs, and what to do
next. It reads the worker, its image, its node, the node-agent's Lease and the
worker's events, as far as you have the right to read them.`

func newExplain(p *plugin) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain WORKER",
		Short: "Explain why a worker does not run, and what to do next",
		Long:  explainHelp,
		Example: `  kubectl storm explain clock
  kubectl storm explain clock -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeWorker(),
	}
	output := addOutput(cmd, asJSON, asYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		facts, err := p.gather(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		explanation := explain.Worker(facts)
		if output.forMachine() {
			return output.write(p.harmless(), explanation)
		}
		return p.writeExplanation(explanation)
	}
	return cmd
}

// gather reads what there is to know of a worker. What the user may not read,
// or is not there, is missing.
func (p *plugin) gather(ctx context.Context, name string) (explain.Facts, error) {
	namespace, err := p.namespace()
	if err != nil {
		return explain.Facts{}, err
	}
	objects, err := p.objects()
	if err != nil {
		return explain.Facts{}, err
	}
	facts := explain.Facts{Now: time.Now()}
	facts.Worker, err = objects.StormWorkers(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return facts, fmt.Errorf("there is no worker %s in namespace %s: kubectl storm ps -A lists the existing ones", name, namespace)
	case err != nil:
		return facts, fmt.Errorf("read worker %s: %w", name, err)
	}
	facts.Image = imageOf(ctx, objects, facts.Worker)
	config, err := p.config()
	if err != nil {
		return facts, err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return facts, fmt.Errorf("connect: %w", err)
	}
	gatherNode(ctx, core, &facts)
	events, err := core.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(facts.Worker.UID)).String(),
	})
	if err == nil {
		facts.Events = events.Items
	}
	return facts, ctx.Err()
}

// imageOf is the StormImage of a worker's tag; nil if it is not to be had.
func imageOf(ctx context.Context, objects stormcell.StormcellV1alpha1Interface, w *api.StormWorker) *api.StormImage {
	tag := w.Spec.Image
	if w.Status.Image != nil {
		tag = w.Status.Image.Tag
	}
	if tag == "" {
		return nil
	}
	images, err := objects.StormImages().List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.tag", tag).String()})
	if err != nil || len(images.Items) == 0 {
		return nil
	}
	return &images.Items[0]
}

// gatherNode reads the worker's node, and the Lease of its agent.
func gatherNode(ctx context.Context, core kubernetes.Interface, facts *explain.Facts) {
	name := facts.Worker.Status.NodeName
	if name == "" {
		return
	}
	node, err := core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	facts.NodeGone = apierrors.IsNotFound(err)
	if err == nil {
		facts.Node = node
	}
	lease, err := core.CoordinationV1().Leases(api.SystemNamespace).Get(ctx, api.LeaseName(name), metav1.GetOptions{})
	facts.LeaseGone = apierrors.IsNotFound(err)
	if err == nil {
		facts.Lease = lease
	}
}

func (p *plugin) writeExplanation(s explain.Explanation) error {
	lead := func(text string, c screen.Color) string {
		if p.colored() {
			return screen.Paint(text, c)
		}
		return text
	}
	fmt.Fprintln(p.Out, lead(screen.Clean(s.Sentence), screen.Bold))
	for _, more := range []struct{ lead, text string }{{"Said:  ", s.Said}, {"Before:", s.Before}} {
		if more.text != "" {
			fmt.Fprintln(p.Out, lead(more.lead, screen.Faint), screen.Clean(more.text))
		}
	}
	_, err := fmt.Fprintln(p.Out, lead("Next:  ", screen.Green), screen.Clean(s.Next))
	return err
}
