package main

import (
	"github.com/spf13/cobra"
)

const removeTagHelp = `Removes tags, all at once. The images stay until "cleanup" has found them without
tags for long enough. If the store lacks one of the tags, none is removed.`

func newRemoveTag(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupTags,
		Use:     "remove-tag TAG[,TAG...] ...",
		Short:   "Remove tags and keep the images",
		Long:    removeTagHelp,
		Example: "  docker-to-squash remove-tag --store /srv/images storm/worker:2.7,storm/worker:2.6",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := splitNames(args)
			if err != nil {
				return err
			}
			c, err := f.curator(cmd)
			if err != nil {
				return err
			}
			change, err := c.RemoveTags(cmd.Context(), names)
			if err != nil {
				return err
			}
			return f.writeTagChange(cmd, change)
		},
	}, writeFlags, []string{"dry-run"})
}
