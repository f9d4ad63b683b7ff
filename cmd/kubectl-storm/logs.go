package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

const logsHelp = `Prints what a worker has written to its standard output and error, as far as its
node has kept it. On a terminal, control characters are shown as pictures, such
as ␛, so that a worker cannot steer the terminal; colours go with them.`

func newLogs(p *plugin) *cobra.Command {
	var options connect.LogOptions
	tail := int64(-1)
	cmd := &cobra.Command{
		Use:   "logs WORKER",
		Short: "Print the log of a worker",
		Long:  logsHelp,
		Example: `  kubectl storm logs clock
  kubectl storm logs clock -f --tail 20     # the last 20 lines, and new ones
  kubectl storm logs clock --previous       # of the container before the last restart`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeWorker(),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&options.Follow, "follow", "f", false, "print new lines until the worker ends")
	flags.BoolVar(&options.Previous, "previous", false, "print the log of the container before the last restart")
	flags.BoolVar(&options.Timestamps, "timestamps", false, "print the time before each line")
	flags.Int64Var(&tail, "tail", tail, "number of `lines` from the end to print; all by default")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case tail > connect.MaxTailLines, tail < 0 && flags.Changed("tail"):
			return fmt.Errorf("--tail %d: must be from 0 to %d", tail, connect.MaxTailLines)
		case tail >= 0:
			options.TailLines = &tail
		}
		namespace, err := p.namespace()
		if err != nil {
			return err
		}
		nodes, err := p.live()
		if err != nil {
			return err
		}
		log, err := nodes.Log(cmd.Context(), types.NamespacedName{Namespace: namespace, Name: args[0]}, options)
		if err != nil {
			return err
		}
		_, err = io.Copy(p.harmless(), log)
		return errors.Join(err, log.Close())
	}
	return cmd
}
