package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
)

const cleanupHelp = `Moves each image without tags one step on in its life; run it every day. One that
was not known to have no tags is noted as stale. After --untagged-transition-sec
it is dead: its manifest is hidden from nodes. After as long again it is
deleted, but for what other images need. So nodes have two weeks, by default, and
"add-tag" or a new push brings an image back at any time before its end.

A manifest that cannot be read keeps cleanup from deleting anything, since its
layers are not known; all other steps are done.`

const cleanupExample = `  docker-to-squash cleanup --store hdfs://nn:8020/containers --dry-run
  docker-to-squash cleanup --store hdfs://nn:8020/containers --unreferenced`

func newCleanup(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupStore,
		Use:     "cleanup",
		Short:   "Do a step in the life of images without tags",
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
