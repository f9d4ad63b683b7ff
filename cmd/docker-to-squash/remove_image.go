package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
)

const removeImageHelp = `Deletes images at once: first all their tags, in one step, then their layers,
config and manifest, except for files that other images of the store need. An image
is named by its manifest hash or by one of its tags; all its tags are removed.

Running workers are not affected, but nodes can no longer fetch the image. The
gentle way is "remove-tag", and "cleanup" every day: it gives nodes two weeks. To
continue an interrupted removal, repeat it with the manifest hash.`

const removeImageExample = `  docker-to-squash remove-image --store /srv/images --dry-run storm/worker:2.7
  docker-to-squash remove-image --store /srv/images storm/worker:2.7,storm/worker:2.6
  docker-to-squash remove-image --store /srv/images 3c1b…64 hex digits`

func newRemoveImage(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupImages,
		Use:     "remove-image HASH|TAG[,HASH|TAG...] ...",
		Short:   "Delete images and their tags at once",
		Long:    removeImageHelp,
		Example: removeImageExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.curator(cmd)
			if err != nil {
				return err
			}
			names, err := splitNames(args)
			if err != nil {
				return err
			}
			report, err := c.RemoveImages(cmd.Context(), names)
			if err != nil {
				return err
			}
			return f.write(cmd, report, func(w io.Writer) {
				for _, r := range report.Images {
					fmt.Fprintf(w, "%s  %d files, %s  %s\n", r.ManifestDigest, len(r.Files), humanBytes(r.Bytes), strings.Join(r.Tags, " "))
					writeFiles(w, r)
				}
				dryRunNote(w, report.DryRun)
			})
		},
	}, storeFlags, []string{"replication", "dry-run"})
}

func writeFiles(w io.Writer, r admin.Removal) {
	for _, name := range r.Files {
		fmt.Fprintf(w, "  %s\n", name)
	}
}

// splitNames splits arguments at their commas.
func splitNames(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		for name := range strings.SplitSeq(arg, ",") {
			if name == "" {
				return nil, fmt.Errorf("argument %q: a name between commas is empty", arg)
			}
			names = append(names, name)
		}
	}
	return names, nil
}
