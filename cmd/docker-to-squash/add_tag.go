package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/convert/source"
)

const addTagHelp = `Adds tags to images of the store. An image is named by its manifest hash, by one of
its tags, or as pull-build-push-update names it: then the registry is asked for its
digest, but nothing is fetched from there.

The image must be complete in the store. If "cleanup" has marked it as untagged or
hidden it from nodes, that is undone.`

const addTagExample = `  docker-to-squash add-tag --store /srv/images storm/worker:2.8,storm/worker:latest
  docker-to-squash add-tag --store /srv/images registry.example.com/storm:2.8,storm/worker:stable`

func newAddTag(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupTags,
		Use:     "add-tag IMAGE|HASH|TAG,TAG[,TAG...] ...",
		Short:   "Add tags to images of the store",
		Long:    addTagHelp,
		Example: addTagExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return addTag(cmd, f, args)
		},
	}, writeFlags, imageFlags, []string{"dry-run"})
}

func addTag(cmd *cobra.Command, f *flags, args []string) error {
	taggings := make([]admin.Tagging, 0, len(args))
	for _, arg := range args {
		image, tags, err := splitTags(arg)
		if err != nil {
			return err
		}
		taggings = append(taggings, admin.Tagging{Image: image, Tags: tags})
	}
	platform, err := source.ParsePlatform(f.platform)
	if err != nil {
		return err
	}
	c, err := f.curator(cmd)
	if err != nil {
		return err
	}
	change, err := c.AddTags(cmd.Context(), taggings, func(ctx context.Context, name string) (digest.Digest, error) {
		image, err := f.image(name)
		if err != nil {
			return "", err
		}
		found, err := source.Open(ctx, image, platform)
		if err != nil {
			return "", err
		}
		return found.Digest, found.Close()
	})
	if err != nil {
		return err
	}
	return f.writeTagChange(cmd, change)
}

// writeTagChange writes which tags were set or removed.
func (f *flags) writeTagChange(cmd *cobra.Command, change *admin.TagChange) error {
	return f.write(cmd, change, func(w io.Writer) {
		for _, image := range change.Images {
			fmt.Fprintf(w, "%s  %s\n", image.ManifestDigest, strings.Join(image.Tags, " "))
		}
		dryRunNote(w, change.DryRun)
	})
}
