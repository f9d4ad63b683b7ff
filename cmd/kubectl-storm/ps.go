package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/backoff"
)

const psHelp = `Lists the workers of a topology, or all of the namespace, with the memory and the
processors that each uses at present, and its limits. Memory includes the page
cache of the files that the worker has read or written.`

// samplePause is the time between the two readings that give the use of
// processors.
const samplePause = 500 * time.Millisecond

func newPs(p *plugin) *cobra.Command {
	m := &monitor{plugin: p}
	cmd := &cobra.Command{
		Use:   "ps [TOPOLOGY]",
		Short: "List workers, with the memory and the processors that they use",
		Long:  psHelp,
		Example: `  kubectl storm ps                          # workers of the namespace
  kubectl storm ps clock-1-1764000000       # of one topology
  kubectl storm ps -A -o wide               # of all namespaces, with more columns
  kubectl storm ps -o json | jq '.workers[] | select(.status != "Running")'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeTopology,
	}
	m.addFlags(cmd)
	output := addOutput(cmd, asWide, asJSON, asYAML, asName)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := m.begin(args); err != nil {
			return err
		}
		if err := m.list(ctx); err != nil {
			return err
		}
		if output.form == asName {
			return m.writeNames()
		}
		if m.sample(ctx) {
			if err := backoff.Wait(ctx, samplePause); err != nil {
				return err
			}
			m.sample(ctx)
		}
		return m.write(output)
	}
	return cmd
}
