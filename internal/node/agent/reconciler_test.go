package agent_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/test/cluster"
)

var testCluster *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) { testCluster = c }))
}

// node is an engine that only notes what it is told, and says what a test
// wants to be so.
type node struct {
	changes *agent.Changes

	mu      sync.Mutex
	ensured map[string]worker.Spec
	removed []string
	states  map[string]engine.State
}

func (n *node) Ensure(w worker.Spec, _ engine.Past) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ensured[w.UID] = w
}

func (n *node) Purge(w worker.Spec, _ engine.Past) {
	if _, known := n.State(w.UID); known {
		n.Remove(w.UID)
		return
	}
	n.mu.Lock()
	n.states[w.UID] = engine.State{Namespace: w.Namespace, Name: w.Name, UID: w.UID, ContainerID: w.ContainerID(), Phase: engine.Removed}
	n.mu.Unlock()
}

func (n *node) Remove(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed = append(n.removed, uid)
}

func (n *node) Forget(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.states, uid)
}

func (n *node) State(uid string) (engine.State, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.states[uid]
	return s, ok
}

func (n *node) States() []engine.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []engine.State
	for _, s := range n.states {
		all = append(all, s)
	}
	return all
}

// is sets what is so of a worker.
func (n *node) is(w *api.StormWorker, s engine.State) {
	s.Namespace, s.Name, s.UID, s.ContainerID = w.Namespace, w.Name, string(w.UID), w.ContainerID()
	n.mu.Lock()
	n.states[s.UID] = s
	n.mu.Unlock()
	n.changes.Add(s)
}

func (n *node) spec(w *api.StormWorker) (worker.Spec, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.ensured[string(w.UID)]
	return s, ok
}

func (n *node) wasRemoved(w *api.StormWorker) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.removed, string(w.UID))
}

// begin runs an agent for a node of its own.
func begin(t *testing.T, name string) (*node, client.Client) {
	t.Helper()
	n, c, _ := beginWith(t, name, true)
	return n, c
}

// beginWith runs an agent that renews its Lease, or does not.
func beginWith(t *testing.T, name string, beats bool) (*node, client.Client, *agent.Heartbeat) {
	t.Helper()
	admin, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	options := agent.ManagerOptions(name)
	options.Metrics = server.Options{BindAddress: "0"}
	options.Controller = config.Controller{SkipNameValidation: new(true)}
	mgr, err := ctrl.NewManager(testCluster.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{changes: new(agent.Changes), ensured: map[string]worker.Spec{}, states: map[string]engine.State{}}
	heartbeat := &agent.Heartbeat{Client: mgr.GetClient(), Node: name}
	r := &agent.Reconciler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner), Engine: n, Node: name,
		Heartbeat: heartbeat, Changes: n.changes,
	}
	if err := r.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	if beats {
		if err := mgr.Add(heartbeat); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n, admin, heartbeat
}

// bind makes a worker that is admitted and bound, as the manager does.
func bind(t *testing.T, c client.Client, name, node string, port int32) *api.StormWorker {
	t.Helper()
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Finalizers: []string{api.WorkerFinalizer}},
		Spec:       api.StormWorkerSpec{TopologyID: "wc1-2-1608581491", Port: port, User: "alice", Command: []string{"java"}},
	}
	if err := c.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(t, c, w) })
	w.Status.NodeName = node
	w.Status.Image = &api.WorkerImage{Tag: "storm/" + name, ManifestDigest: "sha256:" + name}
	admit(t, c, w)
	return w
}

// admit says that the manager admits the worker's generation.
func admit(t *testing.T, c client.Client, w *api.StormWorker) {
	t.Helper()
	say(t, c, w, metav1.ConditionTrue, api.ReasonAdmitted)
}

// say sets Admitted as the manager does: on the latest version.
func say(t *testing.T, c client.Client, w *api.StormWorker, status metav1.ConditionStatus, reason string) {
	t.Helper()
	said := w.Status
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
			return err
		}
		w.Status.NodeName, w.Status.Image = said.NodeName, said.Image
		meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{
			Type: api.WorkerAdmitted, Status: status, Reason: reason, ObservedGeneration: w.Generation,
		})
		return c.Status().Update(t.Context(), w)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// release lets a worker's object go, as the manager does at the end.
func release(t *testing.T, c client.Client, w *api.StormWorker) {
	t.Helper()
	ctx := context.Background()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(w), w); err != nil {
			return err
		}
		w.Finalizers = nil
		return c.Update(ctx, w)
	})
	if err == nil {
		err = c.Delete(ctx, w)
	}
	if client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}

func reason(t *testing.T, c client.Client, w *api.StormWorker) string {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
	if ready == nil {
		return ""
	}
	return ready.Reason
}

func TestLifeOfAWorker(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	n, c := begin(t, "life")
	w := bind(t, c, "life", "life", 6700)

	g.Eventually(func() bool { _, ok := n.spec(w); return ok }).Should(BeTrue(), "the engine is told of the worker")
	for _, done := range []int64{5, 7} {
		n.is(w, engine.State{Phase: engine.Localizing, LocalizedBytes: done, TotalBytes: 10})
		g.Eventually(func() int64 {
			if reason(t, c, w); w.Status.Localization == nil {
				return 0
			}
			return w.Status.Localization.Bytes
		}).Should(Equal(done), "progress shows in bytes")
	}
	n.is(w, engine.State{Phase: engine.Running, PID: 42, StartedAt: time.Now(), Localized: true, Mounted: true})
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonRunning))
	g.Expect(w.Status.PID).To(BeEquivalentTo(42))
	g.Expect(w.Status.ContainerID).To(Equal(w.ContainerID()))
	g.Expect(w.Status.NodeName).To(Equal("life"), "what the manager wrote stays")
	g.Expect(meta.IsStatusConditionTrue(w.Status.Conditions, api.WorkerAdmitted)).To(BeTrue())
	g.Eventually(func() []eventsv1.Event {
		list := new(eventsv1.EventList)
		g.Expect(c.List(t.Context(), list, client.InNamespace(w.Namespace))).To(Succeed())
		return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.UID != w.UID })
	}).Should(ContainElement(HaveField("Reason", api.ReasonRunning)))

	n.is(w, engine.State{Phase: engine.BackOff, Restarts: 1, LastExit: &runtime.Exit{Code: 7, At: time.Now()}, RetryAt: time.Now()})
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonCrashLoopBackOff))
	g.Expect(w.Status.PID).To(BeZero(), "a process that has ended has no pid")
	g.Expect(w.Status.StartedAt).To(BeNil())
	g.Expect(w.Status.LastExit.ExitCode).To(BeEquivalentTo(7))

	g.Expect(c.Delete(t.Context(), w)).To(Succeed())
	g.Eventually(func() bool { return n.wasRemoved(w) }).Should(BeTrue(), "the engine is told that it shall go")
	n.is(w, engine.State{Phase: engine.Removed})
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonRemoved))
	release(t, c, w)
	n.changes.Add(engine.State{Namespace: w.Namespace, Name: w.Name})
	g.Eventually(func() bool { _, known := n.State(string(w.UID)); return known }).Should(BeFalse(), "a worker whose object is gone is forgotten")
}

func TestOnlyAdmittedGenerationsOfThisNode(t *testing.T) {
	g := NewWithT(t)
	n, c := begin(t, "mine")
	other := bind(t, c, "other", "theirs", 6710)
	mine := bind(t, c, "mine", "mine", 6710)
	g.Eventually(func() bool { _, ok := n.spec(mine); return ok }, 20*time.Second).Should(BeTrue())
	// The watch delivers in order: the other node's worker would have come first.
	_, told := n.spec(other)
	g.Expect(told).To(BeFalse(), "a worker of another node is not the agent's")

	mine.Spec.TerminationGracePeriodSeconds = new(int64(9))
	g.Expect(c.Update(t.Context(), mine)).To(Succeed())
	grace := func() time.Duration { s, _ := n.spec(mine); return s.GracePeriod }
	g.Consistently(grace, time.Second).Should(Equal(3*time.Second), "a generation that is not admitted is not acted on")
	admit(t, c, mine)
	g.Eventually(grace, 20*time.Second).Should(Equal(9 * time.Second))
}

func TestSpecComesFromTheResolvedImage(t *testing.T) {
	g := NewWithT(t)
	n, c := begin(t, "resolved")
	image := &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "resolved"}, Spec: api.StormImageSpec{Tag: "storm/resolved"}}
	g.Expect(c.Create(t.Context(), image)).To(Succeed())
	t.Cleanup(func() { g.Expect(c.Delete(context.Background(), image)).To(Succeed()) })
	image.Status = api.StormImageStatus{
		ManifestDigest: "sha256:resolved",
		Config:         &api.ImageBlob{Digest: "sha256:c", Size: 3},
		Layers:         []api.ImageLayer{{Digest: "sha256:l", Size: 5, File: "layers/l.sqsh", SquashfsDigest: "sha256:s", SquashfsSize: 4}},
	}
	g.Expect(c.Status().Update(t.Context(), image)).To(Succeed())
	w := bind(t, c, "resolved", "resolved", 6720)
	var spec worker.Spec
	g.Eventually(func() bool { var ok bool; spec, ok = n.spec(w); return ok && len(spec.Image.Layers) > 0 }, 20*time.Second).Should(BeTrue())
	g.Expect(spec.Image.Layers[0].Squashfs.Digest).To(BeEquivalentTo("sha256:s"))
	g.Expect(spec.Image.SquashfsBytes()).To(BeEquivalentTo(4))
	g.Expect(spec.ID).To(BeEquivalentTo(w.UID), "the default id is the object's UID")
}

// TestLeftOvers: a worker that a record names and the cluster does not is removed.
func TestLeftOvers(t *testing.T) {
	g := NewWithT(t)
	n, _ := begin(t, "leftovers")
	gone := &api.StormWorker{ObjectMeta: metav1.ObjectMeta{Name: "gone", Namespace: "default", UID: "gone"}}
	n.is(gone, engine.State{Phase: engine.Running})
	g.Eventually(func() bool { return n.wasRemoved(gone) }, 20*time.Second).Should(BeTrue())
}

// TestUnknownWorkerIsRemovedAtOnce: nothing of it is on this node.
func TestUnknownWorkerIsRemovedAtOnce(t *testing.T) {
	g := NewWithT(t)
	_, c := begin(t, "unknown")
	w := bind(t, c, "unknown", "unknown", 6730)
	g.Expect(c.Delete(t.Context(), w)).To(Succeed())
	g.Eventually(func() string { return reason(t, c, w) }, 20*time.Second).Should(Equal(api.ReasonRemoved))
}

// TestQuiet: an agent whose workers do not change writes nothing.
func TestQuiet(t *testing.T) {
	g := NewWithT(t)
	n, c := begin(t, "quiet")
	w := bind(t, c, "quiet", "quiet", 6740)
	state := engine.State{Phase: engine.Running, PID: 42, StartedAt: time.Now(), Localized: true, Mounted: true}
	n.is(w, state)
	g.Eventually(func() string { return reason(t, c, w) }, 20*time.Second).Should(Equal(api.ReasonRunning))
	version := w.ResourceVersion
	for range 20 {
		n.is(w, state)
	}
	g.Consistently(func() string { reason(t, c, w); return w.ResourceVersion }, 2*time.Second).Should(Equal(version))
}

func TestHeartbeat(t *testing.T) {
	g := NewWithT(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: api.SystemNamespace}}
	admin, err := client.New(testCluster.Config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.IgnoreAlreadyExists(admin.Create(t.Context(), ns))).To(Succeed())
	_, c := begin(t, "beats")
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.LeaseName("beats"), Namespace: api.SystemNamespace}}
	g.Eventually(func() error { return c.Get(t.Context(), client.ObjectKeyFromObject(lease), lease) }, 20*time.Second).Should(Succeed())
	g.Expect(time.Since(lease.Spec.RenewTime.Time)).To(BeNumerically("<", 30*time.Second))
	g.Expect(*lease.Spec.LeaseDurationSeconds).To(BeEquivalentTo(40))
	g.Expect(*lease.Spec.HolderIdentity).To(Equal("beats"))
}

// TestRefusedLater: a launch that the manager comes to refuse is given up, and
// begins again when it is admitted.
func TestRefusedLater(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	n, c := begin(t, "refused")
	w := bind(t, c, "refused", "refused", 6750)
	g.Eventually(func() bool { _, ok := n.spec(w); return ok }).Should(BeTrue())
	n.is(w, engine.State{Phase: engine.BackOff, RetryAt: time.Now()})
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonCrashLoopBackOff))

	say(t, c, w, metav1.ConditionFalse, api.ReasonImageNotAllowed)
	g.Eventually(func() bool { return n.wasRemoved(w) }).Should(BeTrue(), "the engine is told to give it up")
	n.is(w, engine.State{Phase: engine.Removed})
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonImageNotAllowed), "the manager's word is what is shown")
	g.Eventually(func() bool { _, known := n.State(string(w.UID)); return known }).Should(BeFalse())

	g.Consistently(func() string { reason(t, c, w); return w.ResourceVersion }, time.Second).Should(Equal(w.ResourceVersion), "nothing is written without news")
	n.mu.Lock()
	delete(n.ensured, string(w.UID))
	n.mu.Unlock()
	admit(t, c, w)
	g.Eventually(func() bool { _, ok := n.spec(w); return ok }).Should(BeTrue(), "it begins again")
}

// TestNoQuarrelOverALostNode: while the Lease cannot be renewed, the manager's
// word that the node is lost stands; then the agent has its say again.
func TestNoQuarrelOverALostNode(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	n, c, heartbeat := beginWith(t, "lost", false)
	w := bind(t, c, "lost", "lost", 6760)
	state := engine.State{Phase: engine.Running, PID: 42, StartedAt: time.Now(), Localized: true, Mounted: true}
	n.is(w, state)
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonRunning))

	meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionUnknown, Reason: api.ReasonNodeLost})
	g.Expect(c.Status().Update(t.Context(), w)).To(Succeed())
	n.is(w, state)
	g.Consistently(func() string { return reason(t, c, w) }, time.Second).Should(Equal(api.ReasonNodeLost))

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: api.SystemNamespace}}
	g.Expect(client.IgnoreAlreadyExists(c.Create(t.Context(), ns))).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- heartbeat.Start(ctx) }()
	g.Eventually(heartbeat.Beats).Should(BeTrue())
	n.is(w, state)
	g.Eventually(func() string { return reason(t, c, w) }).Should(Equal(api.ReasonRunning))
	cancel()
	g.Expect(<-done).To(Succeed())
}
