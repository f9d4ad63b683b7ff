//go:build faults

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// withFaults puts itself between the engine and each of its parts, so that
// test/faults can end the agent, or have a step fail or hang, before and after
// each call. The orders lie in the directory that $STORMCELL_FAULTS names.
func withFaults(o engine.Options) engine.Options {
	f := faults{dir: os.Getenv("STORMCELL_FAULTS")}
	o.Bundles = &faultyBundles{o.Bundles, f}
	for r, p := range o.Runtimes {
		p.Images, p.Rootfs = &faultyImages{p.Images, f}, &faultyRootfs{p.Rootfs, f}
		p.Runtime, p.Logs = &faultyRuntime{p.Runtime, f}, &faultyLogs{p.Logs, f}
		o.Runtimes[r] = p
	}
	return o
}

// faults carries out orders: files named by the point that they are for, such
// as "before Runtime.Create".
type faults struct{ dir string }

// at carries out the order for a point, if there is one, once: the file goes
// first, so that the next agent passes. "kill" ends this process as a crash
// would, "hang" never returns; all else is the text of an error.
func (f faults) at(point string) error {
	path := filepath.Join(f.dir, point)
	order, err := os.ReadFile(path)
	if err != nil || os.Remove(path) != nil {
		return nil //nolint:nilerr // no order, or another call has got it
	}
	switch text := strings.TrimSpace(string(order)); text {
	case "kill":
		err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
		panic(fmt.Sprintf("survived SIGKILL: %v", err))
	case "hang":
		select {}
	default:
		return errors.New(text)
	}
}

// call is a step between its two points.
func call[T any](f faults, step string, do func() (T, error)) (T, error) {
	if err := f.at("before " + step); err != nil {
		var none T
		return none, err
	}
	result, err := do()
	return result, errors.Join(err, f.at("after "+step))
}

// act is call for a step without a result.
func act(f faults, step string, do func() error) error {
	_, err := call(f, step, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

type faultyImages struct {
	runtime.Images
	faults faults
}

func (i *faultyImages) Localize(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	return call(i.faults, "Images.Localize", func() (*manifest.LocalImage, error) {
		return i.Images.Localize(ctx, owner, image, progress)
	})
}

func (i *faultyImages) Hold(owner string, layers []digest.Digest) {
	_ = act(i.faults, "Images.Hold", func() error { i.Images.Hold(owner, layers); return nil })
}

func (i *faultyImages) Release(owner string) {
	_ = act(i.faults, "Images.Release", func() error { i.Images.Release(owner); return nil })
}

type faultyRootfs struct {
	runtime.Rootfs
	faults faults
}

func (r *faultyRootfs) Mount(ctx context.Context, owner string, layers []manifest.LocalLayer) (string, error) {
	return call(r.faults, "Rootfs.Mount", func() (string, error) { return r.Rootfs.Mount(ctx, owner, layers) })
}

func (r *faultyRootfs) Unmount(ctx context.Context, owner string) error {
	return act(r.faults, "Rootfs.Unmount", func() error { return r.Rootfs.Unmount(ctx, owner) })
}

func (r *faultyRootfs) Recover(ctx context.Context, live map[string][]digest.Digest) error {
	return act(r.faults, "Rootfs.Recover", func() error { return r.Rootfs.Recover(ctx, live) })
}

type faultyBundles struct {
	engine.Bundles
	faults faults
}

func (b *faultyBundles) Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (string, error) {
	return call(b.faults, "Bundles.Prepare", func() (string, error) { return b.Bundles.Prepare(ctx, w, image, rootfs) })
}

func (b *faultyBundles) Remove(ctx context.Context, w worker.Spec) error {
	return act(b.faults, "Bundles.Remove", func() error { return b.Bundles.Remove(ctx, w) })
}

func (b *faultyBundles) Discard(ctx context.Context, w worker.Spec) error {
	return act(b.faults, "Bundles.Discard", func() error { return b.Bundles.Discard(ctx, w) })
}

func (b *faultyBundles) Recover(ctx context.Context, known []worker.Spec) ([]string, error) {
	return call(b.faults, "Bundles.Recover", func() ([]string, error) { return b.Bundles.Recover(ctx, known) })
}

func (b *faultyBundles) Sweep(ctx context.Context, id string) error {
	return act(b.faults, "Bundles.Sweep", func() error { return b.Bundles.Sweep(ctx, id) })
}

type faultyRuntime struct {
	runtime.Runtime
	faults faults
}

func (r *faultyRuntime) Create(ctx context.Context, id, bundle string, attempt int) (runtime.State, error) {
	return call(r.faults, "Runtime.Create", func() (runtime.State, error) { return r.Runtime.Create(ctx, id, bundle, attempt) })
}

func (r *faultyRuntime) Start(ctx context.Context, id string) error {
	return act(r.faults, "Runtime.Start", func() error { return r.Runtime.Start(ctx, id) })
}

func (r *faultyRuntime) Inspect(ctx context.Context, id string) (runtime.Info, error) {
	return call(r.faults, "Runtime.Inspect", func() (runtime.Info, error) { return r.Runtime.Inspect(ctx, id) })
}

func (r *faultyRuntime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	return call(r.faults, "Runtime.Wait", func() (runtime.Exit, error) { return r.Runtime.Wait(ctx, id) })
}

func (r *faultyRuntime) Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	return act(r.faults, "Runtime.Signal "+sig.String(), func() error { return r.Runtime.Signal(ctx, id, sig, all) })
}

func (r *faultyRuntime) Delete(ctx context.Context, id string) error {
	return act(r.faults, "Runtime.Delete", func() error { return r.Runtime.Delete(ctx, id) })
}

func (r *faultyRuntime) List(ctx context.Context) ([]runtime.State, error) {
	return call(r.faults, "Runtime.List", func() ([]runtime.State, error) { return r.Runtime.List(ctx) })
}

type faultyLogs struct {
	runtime.Logs
	faults faults
}

func (l *faultyLogs) RemoveLogs(id string) error {
	return act(l.faults, "Logs.RemoveLogs", func() error { return l.Logs.RemoveLogs(id) })
}

func (l *faultyLogs) OldLogs(then time.Time) ([]string, error) {
	return call(l.faults, "Logs.OldLogs", func() ([]string, error) { return l.Logs.OldLogs(then) })
}
