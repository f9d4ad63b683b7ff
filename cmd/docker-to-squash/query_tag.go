package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

const queryTagHelp = `Shows the files of images: manifest, config and layers, base first. It is an error
if a file of an image is missing.`

func newQueryTag(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupTags,
		Use:     "query-tag TAG[,TAG...] ...",
		Short:   "Show the files of images",
		Long:    queryTagHelp,
		Example: "  docker-to-squash query-tag --store /srv/images storm/worker:2.8 -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return queryTag(cmd, f, args)
		},
	}, storeFlags)
}

func queryTag(cmd *cobra.Command, f *flags, args []string) error {
	names, err := splitNames(args)
	if err != nil {
		return err
	}
	c, err := f.curator(cmd)
	if err != nil {
		return err
	}
	images, err := c.Query(cmd.Context(), names)
	if err != nil {
		return err
	}
	root := c.Store.URL() + "/"
	return f.write(cmd, images, func(w io.Writer) {
		for _, image := range images {
			fmt.Fprintf(w, "%s\n  manifest  %s\n", image.Tag, root+manifest.ManifestFile(image.ManifestDigest))
			fmt.Fprintf(w, "  config    %s\n", root+manifest.ConfigFile(image.Config.Digest))
			for _, l := range image.Layers {
				known := ""
				if l.Squashfs.Digest == "" {
					known = "  no identity"
				}
				fmt.Fprintf(w, "  layer     %s  %s%s\n", root+l.File, humanBytes(l.Squashfs.Size), known)
			}
		}
	})
}
