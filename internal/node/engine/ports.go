package engine

import (
	"context"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Observer receives what happens to workers, for metrics. It must not block.
type Observer interface {
	// StepDone receives the duration of a successful step of a launch.
	StepDone(step Step, took time.Duration)
	// LaunchDone receives the end of a launch: nil if the worker's process runs,
	// else a *StepError. It is not called for a launch that was abandoned because
	// the worker is removed.
	LaunchDone(err error)
	// Ended receives how a worker's process ended by itself.
	Ended(exit runtime.Exit)
}

// nobody is the Observer of an engine that has none.
type noObserver struct{}

func (noObserver) StepDone(Step, time.Duration) {}
func (noObserver) LaunchDone(error)             {}
func (noObserver) Ended(runtime.Exit)           {}

// Bundles writes what a runtime and a worker read: the container's
// configuration, the worker script, the directories of the worker.
type Bundles interface {
	// Prepare makes everything that the worker needs outside of its rootfs and
	// returns the bundle directory. It can be repeated.
	Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (bundle string, err error)
	// Remove deletes what Prepare made, but the artifacts. What is not there
	// is no error.
	Remove(ctx context.Context, w worker.Spec) error
	// Discard is Remove, with the artifacts.
	Discard(ctx context.Context, w worker.Spec) error
	// Recover takes over what an earlier agent's Prepare made for the workers
	// that are known, and returns the container ids of others that it made
	// something for.
	Recover(ctx context.Context, known []worker.Spec) (left []string, err error)
	// Sweep is Remove for one of those. The id may also be one that Prepare
	// made nothing for.
	Sweep(ctx context.Context, id string) error
}
