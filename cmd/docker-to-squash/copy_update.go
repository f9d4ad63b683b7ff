package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
)

const copyUpdateHelp = `Copies images from one store to another, and then sets their tags there, all at
once. An image is named by a tag of the source. TAG is its tag in the destination;
without one, it is the same tag. Comments of the tag file are copied too.

Every file is verified while it is copied: documents by the digests that name
them, layers by their identities. A layer that has no identity in the source gets
one in the destination, with a warning. Existing files of the destination are kept,
unless they are damaged or --force is given.`

const copyUpdateExample = `  # to another cluster, under the same tag
  docker-to-squash copy-update hdfs://east:8020/containers hdfs://west:8020/containers storm/worker:2.8

  # into a new directory, under other tags
  docker-to-squash copy-update -b hdfs://east:8020/containers /srv/images storm/worker:2.8,storm/worker:tested`

func newCopyUpdate(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupImages,
		Use:     "copy-update SRC_ROOT DEST_ROOT IMAGETAG[,TAG...] ...",
		Short:   "Copy images from one store to another and tag them",
		Long:    copyUpdateHelp,
		Example: copyUpdateExample,
		Args:    cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return copyUpdate(cmd, f, args[0], args[1], args[2:])
		},
	}, limitFlags, hadoopFlags, []string{"bootstrap", "force", "replication", "image-tag-to-hash", "dry-run"})
}

func copyUpdate(cmd *cobra.Command, f *flags, from, to string, args []string) error {
	requests := make([]admin.CopyRequest, 0, len(args))
	for _, arg := range args {
		all := strings.Split(arg, ",")
		if all[0] == "" {
			return fmt.Errorf("argument %q: write IMAGETAG[,TAG...]", arg)
		}
		requests = append(requests, admin.CopyRequest{Tag: all[0], Tags: all[1:]})
	}
	source, err := f.open(from)
	if err != nil {
		return err
	}
	f.store = to
	store, err := f.openStore(cmd)
	if err != nil {
		return err
	}
	return f.copy(cmd, f.curatorOf(source), store, requests)
}

// copy copies images into store and reports it.
func (f *flags) copy(cmd *cobra.Command, from *admin.Curator, store store.Writer, requests []admin.CopyRequest) error {
	limits, err := f.limits()
	if err != nil {
		return err
	}
	c := f.curatorOf(store)
	progress := newProgress(cmd.ErrOrStderr(), f.log, copying)
	c.Progress = progress
	report, err := c.Copy(cmd.Context(), from, requests, admin.CopyOptions{Limits: limits, Force: f.force})
	progress.Close()
	if err != nil {
		return err
	}
	return f.report(cmd, report)
}
