package controllers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/test/cluster"
)

const (
	// patience is how long tests wait for what must happen.
	patience = 2 * time.Minute
	// interval is the refresh interval of tests.
	interval = 300 * time.Millisecond
)

// The API server is shared by the tests of this package, which run one after
// the other and leave nothing in it. managerConfig has the rights of
// config/rbac/manager_role.yaml and no others.
var (
	adminConfig   *rest.Config
	managerConfig *rest.Config
	// managerWrites counts the requests by managerConfig that are no reads.
	managerWrites atomic.Int64
)

// writeCounter counts the writes that go through it.
type writeCounter struct{ next http.RoundTripper }

func (c writeCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		managerWrites.Add(1)
	}
	return c.next.RoundTrip(r)
}

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.UseDevMode(true), zap.WriteTo(os.Stderr)))
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) {
		// Without config/admission: as admin, the tests speak for agents, too.
		err := c.Install(context.Background(), "rbac")
		if err == nil {
			managerConfig, err = c.Account(context.Background(), "stormcell-manager", "")
		}
		if err != nil {
			panic(err)
		}
		adminConfig = c.Config
		managerConfig.Wrap(func(next http.RoundTripper) http.RoundTripper { return writeCounter{next} })
	}))
}

func adminClient() (client.Client, error) { return adminClientWithWatch() }

func adminClientWithWatch() (client.WithWatch, error) {
	return client.NewWithWatch(adminConfig, client.Options{Scheme: kinds.Scheme()})
}

// world is a cluster with a store and a running manager.
type world struct {
	testing.TB
	ctx      context.Context
	c        client.Client
	store    *testStore
	settings atomic.Pointer[Settings]
	changes  chan struct{}
	metrics  *prometheus.Registry // of the manager that runs
	cached   client.Reader        // what that knows
	stop     func()
}

// newWorld makes a world whose allowlist has images; the first is the default.
// The manager runs after w.run.
func newWorld(t testing.TB, images ...string) *world {
	t.Helper()
	c, err := adminClient()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, ctx: context.Background(), c: c, store: newTestStore(t), changes: make(chan struct{}), stop: func() {}}
	w.setImages(images...)
	t.Cleanup(w.clean)
	return w
}

func (w *world) setImages(images ...string) {
	s := Settings{RefreshInterval: interval}
	s.Images.Allowed = images
	if len(images) > 0 && images[0] != "*" {
		s.Images.Default = images[0]
	}
	w.settings.Store(&s)
}

// change replaces the allowlist as a new configuration does.
func (w *world) change(images ...string) {
	w.setImages(images...)
	w.changes <- struct{}{}
}

// run starts a manager with the rights of its role. Agents are lost that are
// silent for leaseDuration.
func (w *world) run(leaseDuration time.Duration) {
	w.Helper()
	skipNameValidation := true
	mgr, err := ctrl.NewManager(managerConfig, ctrl.Options{
		Scheme: kinds.Scheme(), Cache: CacheOptions(),
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skipNameValidation},
	})
	w.must(err)
	w.cached = mgr.GetCache()
	ctx, cancel := context.WithCancel(w.ctx)
	w.metrics = prometheus.NewPedanticRegistry()
	w.must(Setup(ctx, mgr, Options{
		Settings: func() Settings { return *w.settings.Load() }, Changes: w.changes,
		Resolver: w.store, LeaseDuration: leaseDuration, Clock: clock.RealClock{}, Metrics: w.metrics,
	}))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// clean stops the manager and empties the cluster.
func (w *world) clean() {
	w.stop()
	var workers api.StormWorkerList
	if err := w.c.List(w.ctx, &workers); err != nil {
		w.Error(err)
	}
	for i := range workers.Items {
		obj := &workers.Items[i]
		patch := client.MergeFrom(obj.DeepCopy())
		obj.Finalizers = nil
		if err := client.IgnoreNotFound(w.c.Patch(w.ctx, obj, patch)); err != nil {
			w.Error(err)
		}
		if err := client.IgnoreNotFound(w.c.Delete(w.ctx, obj)); err != nil {
			w.Error(err)
		}
	}
	for _, kind := range []client.Object{&api.StormImage{}, &api.StormNode{}, &corev1.Node{}} {
		if err := w.c.DeleteAllOf(w.ctx, kind, client.InNamespace(metav1.NamespaceDefault)); err != nil {
			w.Error(err)
		}
	}
	if err := w.c.DeleteAllOf(w.ctx, newLease(""), client.InNamespace(api.SystemNamespace)); err != nil {
		w.Error(err)
	}
}

// eventually waits until check finds nothing wrong.
func (w *world) eventually(check func() error) {
	w.Helper()
	last := check()
	err := wait.PollUntilContextTimeout(w.ctx, 5*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		w.Fatalf("after %s: %v", patience, last)
	}
}

func (w *world) create(obj client.Object) {
	w.Helper()
	w.must(w.c.Create(w.ctx, obj))
}

func (w *world) gone(obj client.Object) {
	w.Helper()
	w.eventually(func() error {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj)
		if err == nil {
			return fmt.Errorf("%s is still there", obj.GetName())
		}
		return client.IgnoreNotFound(err)
	})
}

// statusOf is an apply configuration of a worker's status.
func statusOf(obj *api.StormWorker, fields map[string]any) kruntime.ApplyConfiguration {
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind("StormWorker"))
	u.SetNamespace(obj.Namespace)
	u.SetName(obj.Name)
	return client.ApplyConfigurationFromUnstructured(u)
}
