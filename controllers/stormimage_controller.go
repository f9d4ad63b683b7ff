package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/requests"
)

const (
	// parallelImages is how many images are looked up at once.
	parallelImages = 4
	// resolveTimeout bounds one look-up, to distinguish a store that hangs from one
	// that is slow.
	resolveTimeout = 30 * time.Second
	// refreshSpread is the part of the refresh interval over which look-ups
	// are spread; they come early, never late.
	refreshSpread = 0.2
)

// imageReconciler keeps the status of StormImages up to date with the allowlist and the
// store.
type imageReconciler struct {
	client   client.Client
	events   events.EventRecorder
	clock    clock.PassiveClock
	settings func() Settings
	resolver Resolver
	wake     *requests.Source
}

func (r *imageReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormimage").
		// Its own status writes are no reason to look again.
		For(&api.StormImage{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(r.wake).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelImages}).
		Complete(r)
}

// Reconcile looks up one image and writes what it found. A problem of an image is a
// finding, not an error: the image is looked up again after the refresh interval.
func (r *imageReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	i := new(api.StormImage)
	if err := r.client.Get(ctx, req.NamespacedName, i); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !i.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	settings := r.settings()
	status := imageStatus(i, r.find(ctx, i.Spec.Tag, settings), r.clock.Now())
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err() // the manager ends: no finding
	}
	if err := r.applyStatus(ctx, i, status); err != nil {
		return apply.Outcome(err)
	}
	return ctrl.Result{RequeueAfter: refreshIn(settings.RefreshInterval)}, nil
}

func (r *imageReconciler) find(ctx context.Context, tag string, settings Settings) imageFindings {
	if err := settings.Images.Check(tag); err != nil {
		return imageFindings{refusal: err}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	image, answer, err := r.resolver.Resolve(ctx, tag)
	if err == nil {
		err = answer.Err // of a store that is away, beside what it said before
	}
	if err != nil {
		err = fmt.Errorf("look up image %s: %w", tag, err)
	}
	return imageFindings{image: image, err: err}
}

// applyStatus applies status if it differs from the object's, and then emits events
// for what is new.
func (r *imageReconciler) applyStatus(ctx context.Context, i *api.StormImage, status api.StormImageStatus) error {
	if equality.Semantic.DeepEqual(i.Status, status) {
		return nil
	}
	if err := applyStatus(ctx, r.client, i, &status); err != nil {
		return err
	}
	moved := i.Status.ManifestDigest != "" && status.ManifestDigest != "" && i.Status.ManifestDigest != status.ManifestDigest
	if moved {
		r.events.Eventf(i, nil, "Normal", api.ReasonResolved, "Resolve", "tag %s moved from manifest %s to %s",
			i.Spec.Tag, i.Status.ManifestDigest, status.ManifestDigest)
	}
	for _, c := range status.Conditions {
		if s, isNew := newEvent(i.Status.Conditions, c); isNew && c.Type == api.ImageReady {
			r.events.Eventf(i, nil, s.eventType, s.reason, "Resolve", "%s", s.message)
		}
	}
	return nil
}

// refreshIn returns the time to the next look-up. It spreads the look-ups of images that
// were created at the same time.
func refreshIn(interval time.Duration) time.Duration {
	return backoff.Jitter(interval, refreshSpread)
}
