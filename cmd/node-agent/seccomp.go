package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/seccomp"
)

// checkProfile returns an error for a storm.oci.seccomp.profile with which no
// worker would start, and warns of one with which workers will not get far.
func checkProfile(setting string, log *slog.Logger) error {
	p, err := seccomp.Load(setting)
	if err != nil {
		return err
	}
	for _, w := range seccomp.Warnings(p) {
		log.Warn("configuration", "key", "storm.oci.seccomp.profile", "problem", w)
	}
	return nil
}

// profileCommand prints the built-in profile, for a copy that is changed.
func profileCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "seccomp-profile",
		Short: "Print the seccomp profile of workers on nodes that set none",
		Example: `  # A profile of one's own, to be named in storm.oci.seccomp.profile:
  node-agent seccomp-profile > /etc/storm/seccomp.json`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(seccomp.DefaultJSON)
			return err
		},
	}
}
