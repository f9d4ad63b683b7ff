// Package controllers is the cluster side of stormcell: it checks StormImages against
// the allowlist and the image store, makes nodes prefetch them, admits StormWorkers,
// binds them to nodes, and detects lost nodes. It never touches a host.
package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/managers"
	"github.com/stormcell/stormcell/internal/kube/requests"
	"github.com/stormcell/stormcell/internal/kube/strip"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

// The rights that the manager needs. It patches stormworkers for the finalizer;
// StormNodes are its own, all but their status;
// reviews authorize the readers of metrics; the core events and the last two rights are
// the leader election's.
//
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormimages,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormimages/status;stormworkers/status,verbs=patch
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormworkers,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormnodes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormprofiles,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormprofiles/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=nodes;pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups="",namespace=stormcell-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=stormcell-system,resources=leases,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=stormcell-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=stormcell-system,resources=leases,resourceNames=stormcell-manager,verbs=update

// Settings are what the controllers use of the configuration.
type Settings struct {
	// Images are the allowlist and the default image.
	Images allowlist.Rules
	// DockerImages are the allowlist of runtime Docker.
	DockerImages allowlist.Docker
	// Runtime is what runs workers that name none; empty is Runc.
	Runtime api.Runtime
	// RefreshInterval is the longest time between two look-ups of an image.
	RefreshInterval time.Duration
}

// imageRules decide on the images of workers.
type imageRules interface {
	// Select returns the image of a worker that names image ("" for none), or why it
	// may not run.
	Select(image string) (string, error)
	// Check returns why image may not be used, nil if it may.
	Check(image string) error
}

// rulesOf returns the rules of the images that a runtime runs: a name in a registry is
// another image than the same name in the store.
func (s Settings) rulesOf(runtime api.Runtime) imageRules {
	if runtime.PullsImages() {
		return s.DockerImages
	}
	return s.Images
}

// Resolver looks images up in the store.
type Resolver interface {
	// Resolve returns what tag names in the store, or what it named before if
	// the store is away; Answer.Err says so. Errors wrap those of packages
	// tags, store and manifest, which say what is wrong.
	Resolve(ctx context.Context, tag string) (*manifest.Image, tags.Answer, error)
}

// Options are the surroundings of the controllers.
type Options struct {
	// Settings returns the current settings.
	Settings func() Settings
	// Changes receives when Settings, or what is behind Resolver, has changed.
	Changes  <-chan struct{}
	Resolver Resolver
	// LeaseDuration is for how long a silent agent counts as alive.
	LeaseDuration time.Duration
	// Clock is the clock of conditions and leases.
	Clock clock.PassiveClock
	// Metrics is where the controllers' metrics are registered.
	Metrics prometheus.Registerer
}

// CacheOptions narrow a manager's cache to what the controllers read.
func CacheOptions() cache.Options {
	objects := map[client.Object]cache.ByObject{
		&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{api.SystemNamespace: {}}},
		&corev1.Pod{}:           {Field: assignedPods, Transform: stripPod},
		// What a worker runs is the node's business. So no write may be of a whole
		// object that was read here.
		&api.StormWorker{}:  {Transform: strip.Program},
		&api.StormProfile{}: {Transform: strip.Metadata},
	}
	managers.CacheSecret(objects)
	return cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: objects}
}

// assignedPods selects the pods that use resources: bound, and not ended.
var assignedPods = fields.ParseSelectorOrDie("spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed")

// stripPod reduces a pod to what podRequest and the scheduler cache read. A large
// cluster has many pods, and their environments are none of our business.
func stripPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	bare := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion},
		Spec:       corev1.PodSpec{NodeName: p.Spec.NodeName, Overhead: p.Spec.Overhead, Resources: p.Spec.Resources},
	}
	bare.Spec.Containers, bare.Spec.InitContainers = onlyRequests(p.Spec.Containers), onlyRequests(p.Spec.InitContainers)
	return bare, nil
}

func onlyRequests(containers []corev1.Container) []corev1.Container {
	bare := make([]corev1.Container, len(containers))
	for i := range containers {
		c := &containers[i]
		bare[i] = corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy, Resources: corev1.ResourceRequirements{Requests: c.Resources.Requests}}
	}
	return bare
}

// Setup registers the controllers with mgr.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	if err := indexFields(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	recorder := mgr.GetEventRecorder(api.ManagerFieldOwner)
	nodes := newSchedulerCache(opts.LeaseDuration, opts.Clock)
	metrics := newClusterMetrics(mgr.GetCache(), nodes, mgr.Elected())
	if err := opts.Metrics.Register(metrics); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	images := &imageReconciler{
		client: mgr.GetClient(), events: recorder, clock: opts.Clock,
		settings: opts.Settings, resolver: opts.Resolver, wake: new(requests.Source),
	}
	workers := &workerReconciler{
		client: mgr.GetClient(), events: recorder, clock: opts.Clock,
		settings: opts.Settings, cache: nodes, wake: new(requests.Source), metrics: metrics,
	}
	leases := &leaseReconciler{client: mgr.GetClient(), cache: nodes, workers: workers.wake}
	prefetches := &prefetchReconciler{client: mgr.GetClient(), events: recorder, clock: opts.Clock}
	stormNodes := &nodeReconciler{client: mgr.GetClient()}
	profiles := &profileReconciler{client: mgr.GetClient(), live: mgr.GetAPIReader(), events: recorder, clock: opts.Clock}
	for _, r := range []interface{ setup(ctrl.Manager) error }{images, workers, leases, prefetches, stormNodes, profiles} {
		if err := r.setup(mgr); err != nil {
			return fmt.Errorf("set up the controllers: %w", err)
		}
	}
	changes := &changes{client: mgr.GetClient(), source: opts.Changes, images: images.wake, workers: workers.wake}
	if err := mgr.Add(changes); err != nil {
		return fmt.Errorf("set up the controllers: %w", err)
	}
	return nil
}
