package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

const pushUpdateHelp = `Puts images into the store that "pull-build" has left in the working directory, and
then points the tags to them, all at once. It needs no registry. Each layer is
verified while it is copied; what the store already has is not copied again.

Arguments and --working-dir are those of pull-build. The working directory is
kept: delete WORKING-DIR/docker-to-squash when it is no longer needed.`

const pushUpdateExample = `  docker-to-squash push-update --working-dir /data/built --store hdfs://nn:8020/containers \
      registry.example.com/storm:2.8,storm/worker:2.8,storm/worker:latest`

func newPushUpdate(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupImages,
		Use:     "push-update IMAGE,TAG[,TAG...] ...",
		Short:   "Put what pull-build made into the store and tag it",
		Long:    pushUpdateHelp,
		Example: pushUpdateExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pushUpdate(cmd, f, args)
		},
	}, writeFlags, limitFlags, []string{"bootstrap", "force", "working-dir", "pull-format", "dry-run"})
}

// builtTags is the tag file of pull-build's store.
const builtTags = manifest.TagFile

// builtName is the name that an image of an argument has in pull-build's store.
func (f *flags) builtName(arg string) (string, error) {
	image, _, _ := strings.Cut(arg, ",")
	if image == "" {
		return "", fmt.Errorf("argument %q: write IMAGE,TAG[,TAG...]", arg)
	}
	return f.image(image)
}

func pushUpdate(cmd *cobra.Command, f *flags, args []string) error {
	requests := make([]admin.CopyRequest, 0, len(args))
	for _, arg := range args {
		_, tags, err := splitTags(arg)
		if err != nil {
			return err
		}
		image, err := f.builtName(arg)
		if err != nil {
			return err
		}
		requests = append(requests, admin.CopyRequest{Tag: image, Tags: tags})
	}
	built, err := f.built()
	if err != nil {
		return err
	}
	from := f.curatorOf(built)
	from.TagFile = builtTags
	store, err := f.openStore(cmd)
	if err != nil {
		return err
	}
	if _, err := from.List(cmd.Context()); err != nil {
		return fmt.Errorf("nothing was built in --working-dir %s: run pull-build first, with the same working directory: %w", f.workingDir, err)
	}
	return f.copy(cmd, from, store, requests)
}
