package docker

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Rootfs has nothing to do: Docker mounts the root file systems of its
// containers, and unmounts them.
type Rootfs struct{}

// Mount names no directory.
func (Rootfs) Mount(context.Context, string, []manifest.LocalLayer) (string, error) { return "", nil }

// Unmount does nothing.
func (Rootfs) Unmount(context.Context, string) error { return nil }

// Recover does nothing.
func (Rootfs) Recover(context.Context, map[string][]digest.Digest) error { return nil }
