package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/squashfs"
)

const pullBuildPushUpdateHelp = `Reads images, converts their layers, puts them into the store, and then points the
tags to them, all at once. What the store already has is not converted again.

IMAGE is one of
  [REGISTRY/]NAME[:TAG|@DIGEST]       an image in a registry (may begin with docker://);
                                      credentials are those of docker login or podman login
  oci:DIR[:TAG]                       a directory in the OCI image layout
  oci-archive:FILE[:TAG]              a tar archive of one
  docker-archive:FILE[:NAME:TAG]      an archive of docker save
TAG is the name by which topologies request the image: [REGISTRY/]NAME[:TAG].`

const pullBuildPushUpdateExample = `  # an image of a registry into a new store
  docker-to-squash --store file:///srv/images --bootstrap pull-build-push-update \
      registry.example.com/storm:2.8,storm/worker:2.8,storm/worker:latest

  # two images from this machine
  docker-to-squash pull-build-push-update --store /srv/images \
      oci:build/image:v1,storm/demo:latest  docker-archive:jdk.tar,storm/jdk:17`

func newPullBuildPushUpdate(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupImages,
		Use:     "pull-build-push-update IMAGE,TAG[,TAG...] ...",
		Short:   "Convert images, put them into the store and tag them",
		Long:    pullBuildPushUpdateHelp,
		Example: pullBuildPushUpdateExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pullBuildPushUpdate(cmd, f, args)
		},
	}, writeFlags, convertFlags)
}

func pullBuildPushUpdate(cmd *cobra.Command, f *flags, args []string) error {
	requests, err := f.parseRequests(args)
	if err != nil {
		return err
	}
	converter, err := f.converter(cmd)
	if err != nil {
		return err
	}
	if converter.Store, err = f.openStore(cmd); err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr(), f.log, converting)
	converter.Progress = progress
	report, err := converter.Publish(cmd.Context(), requests)
	progress.Close()
	if err != nil {
		return err
	}
	return f.report(cmd, report)
}

// converter is one without a store.
func (f *flags) converter(cmd *cobra.Command) (*convert.Converter, error) {
	options, err := f.options()
	if err != nil {
		return nil, err
	}
	squasher, err := squashfs.Find(cmd.Context())
	if err != nil {
		return nil, err
	}
	f.log.Debug("converting", "mksquashfs", squasher.Path, "version", squasher.Version)
	return &convert.Converter{Squasher: squasher, Options: options, Waiting: f.waiting}, nil
}

// parseRequests splits arguments of the form IMAGE,TAG[,TAG...].
func (f *flags) parseRequests(args []string) ([]convert.Request, error) {
	requests := make([]convert.Request, 0, len(args))
	for _, arg := range args {
		name, tags, err := splitTags(arg)
		if err != nil {
			return nil, err
		}
		image, err := f.image(name)
		if err != nil {
			return nil, err
		}
		requests = append(requests, convert.Request{Image: image, Tags: tags})
	}
	return requests, nil
}

// splitTags splits an argument of the form IMAGE,TAG[,TAG...].
func splitTags(arg string) (image string, tags []string, _ error) {
	image, rest, found := strings.Cut(arg, ",")
	if !found || image == "" || rest == "" {
		return "", nil, fmt.Errorf("argument %q: write IMAGE,TAG[,TAG...], such as debian:12,storm/base:12", arg)
	}
	return image, strings.Split(rest, ","), nil
}

// report writes what was published, with what the operator should know.
func (f *flags) report(cmd *cobra.Command, report *publish.Report) error {
	for _, w := range report.Warnings {
		f.log.Warn("a line of the old tag file was dropped", "problem", w)
	}
	for _, image := range report.Images {
		for _, l := range image.Layers {
			f.warnLayer(image.Image, l)
		}
	}
	return f.write(cmd, report, func(w io.Writer) {
		for _, image := range report.Images {
			fmt.Fprintf(w, "%s\n  tags      %s\n  manifest  %s\n", image.Image, strings.Join(image.Tags, " "), image.ManifestDigest)
			for _, l := range image.Layers {
				fmt.Fprintf(w, "  layer     %s  %s -> %s  %s\n", l.Digest, humanBytes(l.Size), humanBytes(l.Squashfs.Size), l.Outcome)
			}
		}
		dryRunNote(w, report.DryRun)
	})
}

func (f *flags) warnLayer(image string, l publish.LayerResult) {
	log := f.log.With("image", image, "layer", l.Digest)
	if l.DroppedXattrs > 0 {
		log.Warn("extended attributes that a squashfs layer cannot have were left out", "count", l.DroppedXattrs)
	}
	switch l.Outcome {
	case publish.Identified:
		log.Warn("a layer of the store had no identity and got that of its current content; --force converts the layer again")
	case publish.Unverified:
		log.Warn("a layer had no identity to verify the copy by; the copy got one")
	case publish.Converted, publish.Kept, publish.Copied:
	}
}

// dryRunNote ends the text of a dry run.
func dryRunNote(w io.Writer, dryRun bool) {
	if dryRun {
		fmt.Fprintln(w, "nothing was changed: this was a dry run")
	}
}
