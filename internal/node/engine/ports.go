package engine

import (
	"context"
	"io"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Observer is told what happens to workers, for those who count. It must not
// block.
type Observer interface {
	// StepDone is told how long a step of a launch took that succeeded.
	StepDone(step Step, took time.Duration)
	// LaunchDone is told of the end of a launch: nil if the worker's process
	// runs, else a *StepError. A launch that was given up, since the worker
	// shall go, has none.
	LaunchDone(err error)
	// Ended is told how a worker's process ended by itself.
	Ended(exit runtime.Exit)
}

// nobody is the Observer of an engine that has none.
type nobody struct{}

func (nobody) StepDone(Step, time.Duration) {}
func (nobody) LaunchDone(error)             {}
func (nobody) Ended(runtime.Exit)           {}

// Parts are what workers of one runtime are made with.
type Parts struct {
	Images  Images
	Rootfs  Rootfs
	Runtime Runtime
}

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

// Bundles writes what a runtime and a worker read: the container's
// configuration, the worker script, the directories of the worker.
type Bundles interface {
	// Prepare makes everything that the worker needs outside of its rootfs and
	// returns the bundle directory. It can be repeated.
	Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (bundle string, err error)
	// Remove deletes what Prepare made, but the artifacts. What is not there
	// is no error.
	Remove(ctx context.Context, w worker.Spec) error
	// Recover takes over what an earlier agent's Prepare made for the workers
	// that are known, and returns the container ids of others that it made
	// something for.
	Recover(ctx context.Context, known []worker.Spec) (left []string, err error)
	// Sweep is Remove for one of those. The id may also be one that Prepare
	// made nothing for.
	Sweep(ctx context.Context, id string) error
}

// Runtime runs containers that outlive this process. Its calls, all but Wait,
// fail with ErrUnavailable while its daemon is away, if it has one.
type Runtime interface {
	// Create makes a container that waits for Start. attempt counts the
	// containers of this id from 0, for the name of its log file. A runtime
	// may make the process in Start, and return no pid here.
	Create(ctx context.Context, id, bundle string, attempt int) (runtime.State, error)
	// Start lets the container's process run.
	Start(ctx context.Context, id string) error
	// Inspect tells where a container that was started is found. Its process
	// may have ended meanwhile. ErrNotFound if nothing is known of it.
	Inspect(ctx context.Context, id string) (runtime.Info, error)
	// Wait blocks until the container's first process has ended, and tells
	// how. It also works for a container that an earlier process created and
	// for one that has already ended. ErrNotFound if nothing is known of it.
	// A daemon that is away is no end: Wait goes on until it is back.
	Wait(ctx context.Context, id string) (runtime.Exit, error)
	// Signal sends a signal to the first process, or to all processes of the
	// container. A container that has ended is no error.
	Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error
	// Delete removes the container, killing what still runs of it, and every
	// record of it but its logs. What is not there is no error; ErrStuck if a
	// process does not end.
	Delete(ctx context.Context, id string) error
	// Log opens the container's log; runtime.ErrNoLog if there is none.
	// Reads of one that is followed block until there is more, or ctx ends.
	Log(ctx context.Context, id string, o runtime.LogOptions) (io.ReadCloser, error)
	// RemoveLogs deletes the container's logs.
	RemoveLogs(id string) error
	// OldLogs returns the containers whose logs were last written before then.
	OldLogs(then time.Time) (ids []string, err error)
	// List returns every container of this runtime.
	List(ctx context.Context) ([]runtime.State, error)
}
