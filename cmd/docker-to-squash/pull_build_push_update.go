package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/convert"
	"github.com/stormcell/stormcell/internal/squashfs"
)

const pullBuildPushUpdateHelp = `Reads images, converts their layers, puts all into the store, and then points
the tags to them, all at once. What the store has already is not made again.

IMAGE is one of
  [REGISTRY/]NAME[:TAG|@DIGEST]       an image in a registry (docker:// may stand before it);
                                      credentials are those of docker login or podman login
  oci:DIR[:TAG]                       a directory in the OCI image layout
  oci-archive:FILE[:TAG]              a tar archive of one
  docker-archive:FILE[:NAME:TAG]      an archive of docker save
TAG is the name by which topologies ask for the image: [REGISTRY/]NAME[:TAG].`

const pullBuildPushUpdateExample = `  # an image of a registry into a new store
  docker-to-squash --store file:///srv/images --bootstrap pull-build-push-update \
      registry.example.com/storm:2.8,storm/worker:2.8,storm/worker:latest

  # two images from this machine
  docker-to-squash pull-build-push-update --store /srv/images \
      oci:build/image:v1,storm/demo:latest  docker-archive:jdk.tar,storm/jdk:17`

func newPullBuildPushUpdate(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "pull-build-push-update IMAGE,TAG[,TAG...] ...",
		Short:   "Convert images, put them into the store and tag them",
		Long:    pullBuildPushUpdateHelp,
		Example: pullBuildPushUpdateExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pullBuildPushUpdate(cmd, f, args)
		},
	}
}

func pullBuildPushUpdate(cmd *cobra.Command, f *flags, args []string) error {
	requests, err := parseRequests(args)
	if err != nil {
		return err
	}
	options, err := f.options()
	if err != nil {
		return err
	}
	log, err := f.logger(cmd)
	if err != nil {
		return err
	}
	squasher, err := squashfs.Find(cmd.Context())
	if err != nil {
		return err
	}
	store, err := f.openStore(cmd)
	if err != nil {
		return err
	}
	log.Debug("converting", "mksquashfs", squasher.Path, "version", squasher.Version, "store", store.URL())
	progress := newProgress(cmd.ErrOrStderr(), log)
	converter := convert.Converter{Store: store, Squasher: squasher, Options: options, Progress: progress}
	report, err := converter.Publish(cmd.Context(), requests)
	progress.Close()
	if err != nil {
		return err
	}
	warn(log, report)
	return writeReport(cmd.OutOrStdout(), f.output, report)
}

// parseRequests splits arguments of the form IMAGE,TAG[,TAG...].
func parseRequests(args []string) ([]convert.Request, error) {
	requests := make([]convert.Request, 0, len(args))
	for _, arg := range args {
		image, tags, found := strings.Cut(arg, ",")
		if !found || image == "" || tags == "" {
			return nil, fmt.Errorf("argument %q: write IMAGE,TAG[,TAG...], such as debian:12,storm/base:12", arg)
		}
		requests = append(requests, convert.Request{Image: image, Tags: strings.Split(tags, ",")})
	}
	return requests, nil
}

func warn(log *slog.Logger, report *publication.Report) {
	for _, w := range report.Warnings {
		log.Warn("a line of the old tag file was dropped", "line", w)
	}
	for _, image := range report.Images {
		for _, l := range image.Layers {
			if l.DroppedXattrs > 0 {
				log.Warn("extended attributes that a squashfs layer cannot have were left out", "image", image.Image, "layer", l.Digest, "count", l.DroppedXattrs)
			}
			if l.Outcome == convert.Identified {
				log.Warn("a layer of the store had no identity and got that of its present content; --force makes the layer anew", "image", image.Image, "layer", l.Digest)
			}
		}
	}
}

// writeReport writes what was published.
func writeReport(w io.Writer, form string, report *publication.Report) error {
	if form == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	var b strings.Builder
	for _, image := range report.Images {
		fmt.Fprintf(&b, "%s\n  tags      %s\n  manifest  %s\n", image.Image, strings.Join(image.Tags, " "), image.ManifestDigest)
		for _, l := range image.Layers {
			fmt.Fprintf(&b, "  layer     %s  %s -> %s  %s\n", l.Digest, humanBytes(l.Size), humanBytes(l.Squashfs.Size), l.Outcome)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
