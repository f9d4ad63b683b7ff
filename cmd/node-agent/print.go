package main

import (
	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/node/profile"
	"github.com/stormcell/stormcell/internal/node/seccomp"
)

// printCommands print what is built in, for copies that are changed.
func printCommands() []*cobra.Command {
	return []*cobra.Command{
		printCommand(seccomp.DefaultJSON, "seccomp-profile", "Print the default seccomp profile of workers",
			`  # As the start of your own profile, for storm.oci.seccomp.profile:
  node-agent seccomp-profile > /etc/storm/seccomp.json`),
		printCommand(profile.Script, "profiler-script", "Print the default script that profiles workers",
			`  # As the start of your own script, for worker.profiler.script.path:
  node-agent profiler-script > /etc/storm/profiler.sh`),
	}
}

func printCommand(content []byte, use, short, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(content)
			return err
		},
	}
}
