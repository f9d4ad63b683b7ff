package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// completionPatience is how long a shell waits for the API server.
const completionPatience = 3 * time.Second

// register completes the values of a flag.
func register(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there, and has none yet
	}
}

// completeWorker completes the name of a worker as the first argument, and then
// one of the words given.
func (p *plugin) completeWorker(then ...cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return then, cobra.ShellCompDirectiveNoFileComp
		}
		return p.complete(cmd.Context(), len(args) > 0, func(w *api.StormWorker) cobra.Completion {
			return cobra.CompletionWithDesc(w.Name, w.Spec.TopologyID)
		})
	}
}

// completeTopology completes the id of a topology as the only argument.
func (p *plugin) completeTopology(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.complete(cmd.Context(), len(args) > 0, func(w *api.StormWorker) cobra.Completion { return w.Spec.TopologyID })
}

func (p *plugin) complete(ctx context.Context, enough bool, word func(*api.StormWorker) cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	if enough {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, stop := context.WithTimeout(ctx, completionPatience)
	defer stop()
	workers, err := p.workers(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	words := map[cobra.Completion]bool{}
	for i := range workers {
		words[word(&workers[i])] = true
	}
	return slices.Sorted(maps.Keys(words)), cobra.ShellCompDirectiveNoFileComp
}

// workers are all workers of the namespace.
func (p *plugin) workers(ctx context.Context) ([]api.StormWorker, error) {
	namespace, err := p.namespace()
	if err != nil {
		return nil, err
	}
	objects, err := p.objects()
	if err != nil {
		return nil, err
	}
	list, err := objects.StormWorkers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
