package agent

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// image returns what the manager has resolved of the image that w is pinned
// to. Where the tag has moved on since, only tag and digest are known, and the
// node reads the rest from the store.
func (r *Reconciler) image(ctx context.Context, w *api.StormWorker) (manifest.Image, error) {
	pinned := w.Status.Image
	if pinned.ManifestDigest == "" { // the runtime pulls it
		return manifest.Image{Tag: pinned.Tag}, nil
	}
	list := new(api.StormImageList)
	if err := r.Client.List(ctx, list); err != nil {
		return manifest.Image{}, fmt.Errorf("list StormImages: %w", err)
	}
	return pinnedImage(pinned.Tag, pinned.ManifestDigest, list.Items), nil
}

// pinnedImage finds a manifest in images; else, only tag and digest are known.
func pinnedImage(tag, manifestDigest string, images []api.StormImage) manifest.Image {
	for i := range images {
		if images[i].Status.ManifestDigest == manifestDigest {
			return imageOf(tag, &images[i].Status)
		}
	}
	return manifest.Image{Tag: tag, ManifestDigest: digest.Digest(manifestDigest)}
}

func imageOf(tag string, s *api.StormImageStatus) manifest.Image {
	image := manifest.Image{Tag: tag, ManifestDigest: digest.Digest(s.ManifestDigest)}
	if s.Config != nil {
		image.Config = manifest.Blob{Digest: digest.Digest(s.Config.Digest), Size: s.Config.Size}
	}
	for _, l := range s.Layers {
		image.Layers = append(image.Layers, manifest.Layer{
			Digest: digest.Digest(l.Digest), Size: l.Size, File: l.File,
			Squashfs: manifest.Blob{Digest: digest.Digest(l.SquashfsDigest), Size: l.SquashfsSize},
		})
	}
	return image
}

// specOf turns a StormWorker into plain values.
func specOf(w *api.StormWorker, image manifest.Image) worker.Spec {
	s := worker.Spec{
		Namespace: w.Namespace, Name: w.Name, UID: string(w.UID),
		ID: w.ID(), Port: int(w.Spec.Port), TopologyID: w.Spec.TopologyID,
		Runtime: worker.Runtime(cmp.Or(w.Status.Runtime, api.RuntimeRunc)),
		User:    w.Spec.User, Image: image, Command: w.Spec.Command,
		CPUMillis:     milli(w.Spec.Resources.Limits.CPU),
		MemoryBytes:   bytes(w.Spec.Resources.Limits.Memory),
		StorageBytes:  bytes(w.Spec.Resources.Limits.EphemeralStorage),
		RestartPolicy: worker.RestartPolicy(w.Spec.RestartPolicy),
		GracePeriod:   time.Duration(ptr.Deref(w.Spec.TerminationGracePeriodSeconds, 3)) * time.Second,
	}
	for _, e := range w.Spec.Env {
		s.Env = append(s.Env, worker.EnvVar{Name: e.Name, Value: e.Value})
	}
	if z := w.Spec.NUMAZone; z != nil {
		s.NUMAZone = new(int(*z))
	}
	return s
}

func milli(q *resource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.MilliValue()
}

func bytes(q *resource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.Value()
}

// pastOf reads from a status what ran before.
func pastOf(w *api.StormWorker) engine.Past {
	var p engine.Past
	if exit := w.Status.LastExit; exit != nil {
		p.LastExit = &runtime.Exit{
			Code: int(exit.ExitCode), Signal: int(exit.Signal), OOMKilled: exit.OOMKilled,
			StorageExceeded: exit.EphemeralStorageExceeded, At: exit.FinishedAt.Time,
		}
	}
	if w.Status.StartedAt != nil {
		p.RunningSince = w.Status.StartedAt.Time
	}
	if p.LastExit != nil || !p.RunningSince.IsZero() {
		p.Launched = int(w.Status.RestartCount) + 1
	}
	return p
}
