package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
)

const cleanupHelp = `Removes images without tags, in steps; run it every day. It marks an image that has
lost its tags as stale. After --untagged-transition-sec the image is dead: its
manifest is hidden from nodes. After the same time again the image is deleted,
except for files that other images need. So nodes have two weeks by default, and
"add-tag" or a new push restores an image at any time before it is deleted.

While a manifest cannot be read, cleanup deletes nothing, since the layers of that
manifest are not known. It does all other steps.`

const cleanupExample = `  docker-to-squash cleanup --store hdfs://nn:8020/containers --dry-run
  docker-to-squash cleanup --store hdfs://nn:8020/containers --unreferenced`

func newCleanup(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupStore,
		Use:     "cleanup",
		Short:   "Remove images without tags, in steps",
		Long:    cleanupHelp,
		Example: cleanupExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			transition, err := f.transitionTime()
			if err != nil {
				return err
			}
			c, err := f.curator(cmd)
			if err != nil {
				return err
			}
			report, err := c.Cleanup(cmd.Context(), admin.CleanupOptions{Transition: transition, Unreferenced: f.unreferenced})
			if err != nil {
				return err
			}
			return f.write(cmd, report, func(w io.Writer) { writeCleanup(w, report) })
		},
	}, writeFlags, []string{"dry-run", "dead-perms", "untagged-transition-sec", "unreferenced"})
}

func writeCleanup(w io.Writer, report *admin.CleanupReport) {
	for _, s := range report.Images {
		due := ""
		if s.Due != nil {
			due = "until " + s.Due.UTC().Format(time.RFC3339)
		}
		line := fmt.Sprintf("%s  %-8s  %-6s  %s%s", s.ManifestDigest, s.State, s.Action, strings.Join(s.Tags, " "), due)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
		writeFiles(w, s.Removal)
	}
	if u := report.Unreferenced; u != nil {
		fmt.Fprintf(w, "named by no manifest: %d files, %s\n", len(u.Files), humanBytes(u.Bytes))
		writeFiles(w, *u)
	}
	dryRunNote(w, report.DryRun)
}
