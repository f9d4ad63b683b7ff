package agent

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/message"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// A StormNode is written at most once in a second, and for bytes alone in five:
// a thousand nodes that fetch at once must not be a thousand writes a second.
const (
	prefetchPause = time.Second
	progressPause = 5 * time.Second
)

// PrefetchQueue is what the Prefetcher needs of a prefetch.Queue.
type PrefetchQueue interface {
	Want(images []manifest.Image)
	States() []prefetch.State
	Run(ctx context.Context)
}

// Ports are what the Prefetcher needs of the agent's ports.
type Ports interface {
	// Agent is how the manager reaches this agent; nil if it cannot.
	Agent() *api.StormNodeAgent
	// Taken says which ports other programs have, which ones, and what to do; ""
	// if none is taken.
	Taken() string
	// Trust lets in managers that have a certificate of a bundle, and nobody else.
	Trust(bundle []byte)
}

// Prefetcher makes the prefetch queue agree with this node's StormNode, and the
// StormNode's status with the queue and the ports.
type Prefetcher struct {
	Client  client.Client
	Events  events.EventRecorder
	Queue   PrefetchQueue
	Changes *PrefetchChanges
	// Ports are those of the agent; nil if it has none.
	Ports Ports
	// Runtimes returns the runtimes that workers can start in here, sorted. Its
	// changes are told by Changes, too.
	Runtimes func() []worker.Runtime

	// writtenAt is when the status was last written, and version what that
	// made. Only one Reconcile runs at a time.
	writtenAt time.Time
	version   string
}

// SetupWithManager registers the reconciler and the queue.
func (p *Prefetcher) SetupWithManager(mgr ctrl.Manager) error {
	queue := manager.RunnableFunc(func(ctx context.Context) error {
		p.Queue.Run(ctx)
		return nil
	})
	if err := mgr.Add(queue); err != nil {
		return fmt.Errorf("prefetch queue: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormnode").
		For(&api.StormNode{}).
		WatchesRawSource(p.Changes).
		Complete(p)
}

// Reconcile passes the images that this node is to prefetch to the queue, and reports
// to the cluster what the node has. Without a StormNode there are none.
func (p *Prefetcher) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	n := new(api.StormNode)
	if err := p.Client.Get(ctx, req.NamespacedName, n); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("get StormNode %s: %w", req.Name, err)
		}
		p.Queue.Want(nil)
		return ctrl.Result{}, nil
	}
	if p.Ports != nil && n.Spec.Managers != nil {
		p.Ports.Trust(n.Spec.Managers.CABundle)
	}
	wanted, err := p.wanted(ctx, n)
	if err != nil {
		return ctrl.Result{}, err
	}
	p.Queue.Want(wanted)
	return p.report(ctx, n)
}

func (p *Prefetcher) wanted(ctx context.Context, n *api.StormNode) ([]manifest.Image, error) {
	images := new(api.StormImageList)
	if err := p.Client.List(ctx, images, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list StormImages: %w", err)
	}
	wanted := make([]manifest.Image, 0, len(n.Spec.Images))
	for _, w := range n.Spec.Images {
		wanted = append(wanted, pinnedImage(w.Tag, w.ManifestDigest, images.Items))
	}
	return wanted, nil
}

// report applies the status if it is not what the object says and the last
// write is long enough ago, and tells of news in events.
func (p *Prefetcher) report(ctx context.Context, n *api.StormNode) (ctrl.Result, error) {
	if p.behind(n) {
		return ctrl.Result{}, nil // a look is due soon
	}
	now := time.Now()
	status, passing := stormNodeStatus(n, p.Queue.States(), now)
	if p.Ports != nil {
		status.Agent, status.Conditions = p.Ports.Agent(), listening(n, p.Ports.Taken(), now)
	}
	for _, r := range p.Runtimes() {
		status.Runtimes = append(status.Runtimes, api.Runtime(r))
	}
	again := ctrl.Result{RequeueAfter: nextLook(status, passing)}
	if equality.Semantic.DeepEqual(n.Status, status) {
		return again, nil
	}
	pause := prefetchPause
	if onlyBytes(n.Status, status) {
		pause = progressPause
	}
	if rest := pause - now.Sub(p.writtenAt); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	version, err := applyStatus(ctx, p.Client, n, &status)
	if err != nil {
		return apply.Outcome(err)
	}
	p.writtenAt, p.version = now, version
	p.tell(n, status)
	return again, nil
}

// nextLook is when to look again although nothing has been told of.
func nextLook(status api.StormNodeStatus, passing bool) time.Duration {
	if passing {
		return passingDelay
	}
	for _, s := range status.Images {
		if s.State == api.PrefetchFetching {
			return progressPause
		}
	}
	return 0
}

// tell emits an event for each image that has come to be ready or to fail, and for
// a port that another program has.
func (p *Prefetcher) tell(n *api.StormNode, status api.StormNodeStatus) {
	p.tellPorts(n, status)
	for _, s := range status.Images {
		before := saidOfImage(n, s.Tag, s.ManifestDigest)
		switch {
		case before != nil && before.State == s.State && before.Reason == s.Reason:
		case s.State == api.PrefetchReady:
			p.Events.Eventf(n, nil, "Normal", api.ReasonPrefetched, "Prefetch", "image %s is in the node's cache, manifest %s", s.Tag, s.ManifestDigest)
		case s.State == api.PrefetchFailed:
			p.Events.Eventf(n, nil, "Warning", s.Reason, "Prefetch", "%s", message.Truncate("image "+s.Tag+": "+s.Message, condition.MaxMessage))
		}
	}
}

func (p *Prefetcher) tellPorts(n *api.StormNode, status api.StormNodeStatus) {
	before, now := meta.FindStatusCondition(n.Status.Conditions, api.NodeListening), meta.FindStatusCondition(status.Conditions, api.NodeListening)
	switch {
	case now == nil || before != nil && before.Message == now.Message && before.Status == now.Status:
	case now.Status == metav1.ConditionFalse:
		p.Events.Eventf(n, nil, "Warning", now.Reason, "Listen", "%s", now.Message)
	case before != nil && before.Status == metav1.ConditionFalse:
		p.Events.Eventf(n, nil, "Normal", now.Reason, "Listen", "%s", now.Message)
	}
}
