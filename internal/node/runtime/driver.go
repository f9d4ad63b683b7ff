package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Driver is all that a node needs to run workers in one runtime. Whatever
// differs between runtimes is a part of it, so that nobody else asks which one
// a worker has.
type Driver struct {
	Images Images
	// Rootfs may be that of other drivers, too. It is compared with theirs.
	Rootfs  Rootfs
	Runtime Runtime
	Logs    Logs
	Form    Form
	// Off is why workers cannot start in this runtime on this node, an ErrOff; nil
	// if they can. Such a runtime only removes what it made while it was on.
	Off error
	// Ping asks the daemon whether it is there; nil if the runtime has none.
	Ping func(ctx context.Context) error
}

// Drivers are the runtimes of a node, by the names that workers give them.
// worker.Runc is always among them.
type Drivers map[worker.Runtime]Driver

// ErrUnknown is a runtime that no driver is for.
var ErrUnknown = errors.New("unknown runtime")

// Of returns the driver of a worker's runtime; ErrUnknown if there is none.
func (d Drivers) Of(w worker.Spec) (Driver, error) {
	driver, ok := d[w.RuntimeName()]
	if !ok {
		return Driver{}, fmt.Errorf("%w: this node-agent has no runtime %q; update it", ErrUnknown, w.Runtime)
	}
	return driver, nil
}

// Form composes what a runtime reads of a bundle: the name of its one file,
// and the content, as JSON writes it. It is pure.
type Form func(in ocispec.Input) (name string, content any, err error)

// Images brings images to the node and keeps them there while they are held.
type Images interface {
	// Localize fetches what is missing of image, verified, and holds it for
	// owner until Release. Calls for the same layer share one fetch. progress
	// may be called from other goroutines, with bytes present and bytes in all.
	Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error)
	// Hold keeps layers (squashfs digests) for an owner that an earlier
	// process localized.
	Hold(owner string, layers []digest.Digest)
	// Release ends owner's hold; none is no error.
	Release(owner string)
}

// Rootfs makes root file systems out of layers. Mounts of layers are shared.
type Rootfs interface {
	// Mount returns the directory of owner's root file system, made of layers
	// (base first) below a writable top. A second call returns the same.
	// Mount leaves nothing behind when it fails.
	Mount(ctx context.Context, owner string, layers []manifest.LocalLayer) (rootfs string, err error)
	// Unmount removes owner's root file system and lets go of its layers.
	// What is not there is no error.
	Unmount(ctx context.Context, owner string) error
	// Recover makes the mounts agree with the owners that live: it keeps
	// theirs, with their layers (squashfs digests, base first), and undoes all others.
	Recover(ctx context.Context, live map[string][]digest.Digest) error
}
