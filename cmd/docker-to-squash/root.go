package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/convert"
)

const rootHelp = `Docker-to-squash puts container images into an image store, and manages them
there. A store is a folder tree of squashfs layers, image configs, manifests and
a tag file, in a directory or in HDFS, from which stormcell's nodes and Storm's
own supervisors mount images. It needs no root, and nothing of an image is
unpacked to disk.

Sub-commands and flags have the names that they have in Storm's
docker-to-squash.py. Flags may stand before and after the sub-command.`

func newRoot() *cobra.Command {
	f := &flags{
		maxSize:     byteSize(convert.DefaultLimits.Compressed),
		maxUnpacked: byteSize(convert.DefaultLimits.Unpacked),
		deadPerms:   fileMode(admin.DefaultDeadMode),
	}
	root := &cobra.Command{
		Use:               "docker-to-squash",
		Short:             "Put container images into an image store as squashfs layers",
		Long:              rootHelp,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: f.check,
	}
	f.register(root.PersistentFlags())
	root.SetGlobalNormalizationFunc(originalNames)
	root.SetUsageFunc(usage)
	root.AddGroup(
		&cobra.Group{ID: groupImages, Title: "Images:"},
		&cobra.Group{ID: groupTags, Title: "Tags:"},
		&cobra.Group{ID: groupStore, Title: "Store:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.AddCommand(
		newPullBuildPushUpdate(f), newPullBuild(f), newPushUpdate(f), newCopyUpdate(f), newRemoveImage(f),
		newAddTag(f), newRemoveTag(f), newQueryTag(f), newListTags(f),
		newBootstrap(f), newCleanup(f), newVerify(f),
	)
	for _, command := range root.Commands() {
		if command.GroupID == "" {
			panic(fmt.Sprintf("command %s has no group", command.Name()))
		}
	}
	return root
}

// The groups of sub-commands in the help.
const (
	groupImages = "images"
	groupTags   = "tags"
	groupStore  = "store"
	groupOther  = "other"
)
