package main

import (
	"github.com/spf13/cobra"
)

const pullBuildHelp = `Reads images and converts their layers, as pull-build-push-update does, but keeps
the result in the working directory. "push-update" with the same arguments and
working directory puts it into a store, without the registry.

The result is itself a store, WORKING-DIR/docker-to-squash, in which each image
is tagged with its own name. It may hold any number of images, which share layers.
The next run continues an interrupted one. Tags of the arguments are for
push-update and may be omitted here.`

const pullBuildExample = `  # on a machine that reaches the registry
  docker-to-squash pull-build --working-dir /data/built registry.example.com/storm:2.8,storm/worker:2.8

  # on one that reaches the store
  docker-to-squash push-update --working-dir /data/built --store hdfs://nn:8020/containers \
      registry.example.com/storm:2.8,storm/worker:2.8`

func newPullBuild(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupImages,
		Use:     "pull-build IMAGE[,TAG...] ...",
		Short:   "Convert images and keep the result in the working directory",
		Long:    pullBuildHelp,
		Example: pullBuildExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pullBuild(cmd, f, args)
		},
	}, convertFlags)
}

func pullBuild(cmd *cobra.Command, f *flags, args []string) error {
	images := make([]string, 0, len(args))
	for _, arg := range args {
		image, err := f.builtName(arg)
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	converter, err := f.converter(cmd)
	if err != nil {
		return err
	}
	if converter.Store, err = f.built(); err != nil {
		return err
	}
	converter.Options.TagFile = builtTags
	if err := f.setUp(cmd, converter.Store, builtTags); err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr(), f.log, converting)
	converter.Progress = progress
	report, err := converter.Build(cmd.Context(), images)
	progress.Close()
	if err != nil {
		return err
	}
	return f.report(cmd, report)
}
