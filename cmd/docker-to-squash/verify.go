package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
)

const verifyHelp = `Reads a whole store, layers in parallel, and reports what is missing, altered,
malformed, unreadable or unused, and which tags are affected. Layers without an
identity, as the original creates them, cannot be verified; they are reported, but
are not faults. Nothing is changed.

The exit code is 2 if the store has faults, and 1 if it could not be read.`

func newVerify(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupStore,
		Use:     "verify",
		Short:   "Read a whole store and report what is wrong with it",
		Long:    verifyHelp,
		Example: "  docker-to-squash verify --store /srv/images\n  docker-to-squash verify --store /srv/images -o json | jq '.findings[] | select(.fault)'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verify(cmd, f)
		},
	}, storeFlags, []string{"dead-perms"})
}

func verify(cmd *cobra.Command, f *flags) error {
	c, err := f.curator(cmd)
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr(), f.log, reading)
	c.Progress = progress
	v, err := c.Verify(cmd.Context())
	progress.Close()
	if err != nil {
		return err
	}
	if err := f.write(cmd, v, func(w io.Writer) { writeVerification(w, v) }); err != nil {
		return err
	}
	if v.Faults > 0 {
		return fmt.Errorf("%w: %d, see above", admin.ErrFaults, v.Faults)
	}
	return nil
}

func writeVerification(w io.Writer, v *admin.Verification) {
	for _, finding := range v.Findings {
		fmt.Fprintf(w, "%-12s  %s: %s\n", finding.Kind, finding.File, finding.Detail)
		if len(finding.Tags) > 0 {
			fmt.Fprintf(w, "%-12s  hurts %s\n", "", strings.Join(finding.Tags, " "))
		}
	}
	fmt.Fprintf(w, "%s: %d tags, %d manifests, %d configs, %d layers of %s; %d faults\n",
		v.Store, v.Tags, v.Manifests, v.Configs, v.Layers, humanBytes(v.Bytes), v.Faults)
}
