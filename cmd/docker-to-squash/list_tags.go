package main

import (
	"io"

	"github.com/spf13/cobra"
)

const listTagsHelp = `Prints the tag file, as the original does: a line for each image, with its tags,
its manifest hash and its source. Malformed lines are reported on standard
error.`

func newListTags(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupTags,
		Use:     "list-tags",
		Short:   "Print the tag file",
		Long:    listTagsHelp,
		Example: "  docker-to-squash list-tags --store /srv/images\n  docker-to-squash list-tags --store /srv/images -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.curator(cmd)
			if err != nil {
				return err
			}
			listing, err := c.List(cmd.Context())
			if err != nil {
				return err
			}
			return f.write(cmd, listing, func(w io.Writer) { _, _ = io.WriteString(w, listing.Content) })
		},
	}, storeFlags)
}
