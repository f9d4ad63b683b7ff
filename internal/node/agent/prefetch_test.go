package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"github.com/opencontainers/go-digest"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// ahead is a prefetch queue that only notes what it is told, and says what a
// test wants to be so.
type ahead struct {
	changes *agent.PrefetchChanges

	mu      sync.Mutex
	wanted  []manifest.Image
	told    bool
	states  []prefetch.State
	taken   string
	trusted []byte
	// present are the node's runtimes.
	present []worker.Runtime
}

// Agent implements agent.Ports.
func (a *ahead) Agent() *api.StormNodeAgent {
	return &api.StormNodeAgent{Port: 9444, CABundle: []byte("pem")}
}

func (a *ahead) Taken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken
}

func (a *ahead) Trust(bundle []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trusted = bundle
}

func (a *ahead) trusts() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return string(a.trusted)
}

func (a *ahead) runtimes() []worker.Runtime {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.present
}

// has sets the node's runtimes.
func (a *ahead) has(runtimes ...worker.Runtime) {
	a.mu.Lock()
	a.present = runtimes
	a.mu.Unlock()
	a.changes.Add()
}

// isTaken sets what other programs have of the ports.
func (a *ahead) isTaken(said string) {
	a.mu.Lock()
	a.taken = said
	a.mu.Unlock()
	a.changes.Add()
}

func (a *ahead) Want(images []manifest.Image) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted, a.told = images, true
	for _, i := range images {
		if !slices.ContainsFunc(a.states, func(s prefetch.State) bool { return s.Tag == i.Tag && s.ManifestDigest == i.ManifestDigest }) {
			a.states = append(a.states, prefetch.State{Tag: i.Tag, ManifestDigest: i.ManifestDigest})
		}
	}
	a.states = slices.DeleteFunc(a.states, func(s prefetch.State) bool {
		return !slices.ContainsFunc(images, func(i manifest.Image) bool { return s.Tag == i.Tag && s.ManifestDigest == i.ManifestDigest })
	})
}

func (a *ahead) States() []prefetch.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.states)
}

func (a *ahead) Run(ctx context.Context) { <-ctx.Done() }

func (a *ahead) wants() []manifest.Image {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted
}

// is sets how far the node is with an image.
func (a *ahead) is(s prefetch.State) {
	a.mu.Lock()
	for i := range a.states {
		if a.states[i].Tag == s.Tag {
			s.ManifestDigest = a.states[i].ManifestDigest
			a.states[i] = s
		}
	}
	a.mu.Unlock()
	a.changes.Add()
}

// prefetching runs the prefetch part of an agent, with the rights of its role
// added to those of nobody, until stop is called or the test ends.
func prefetching(t *testing.T, node string) (a *ahead, c client.Client, stop func()) {
	t.Helper()
	admin, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	options := agent.ManagerOptions(node)
	options.Metrics = server.Options{BindAddress: "0"}
	options.Controller = config.Controller{SkipNameValidation: new(true)}
	mgr, err := ctrl.NewManager(testCluster.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	a = &ahead{changes: &agent.PrefetchChanges{Node: node}}
	p := &agent.Prefetcher{Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner), Queue: a, Changes: a.changes, Ports: a, Runtimes: a.runtimes}
	if err := p.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return a, admin, stop
}

// wanting makes a StormNode as the manager does.
func wanting(t *testing.T, c client.Client, node string, tags ...string) *api.StormNode {
	t.Helper()
	n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: node}}
	for _, tag := range tags {
		n.Spec.Images = append(n.Spec.Images, api.StormNodeImage{Tag: tag, ManifestDigest: string(digest.FromString(tag))})
	}
	if err := c.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.Background(), n)); err != nil {
			t.Error(err)
		}
	})
	return n
}

// saying returns what a StormNode says of a tag.
func saying(t *testing.T, c client.Client, n *api.StormNode, tag string) api.StormNodeImageStatus {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(n), n); err != nil {
		t.Fatal(err)
	}
	for _, s := range n.Status.Images {
		if s.Tag == tag {
			return s
		}
	}
	return api.StormNodeImageStatus{}
}

func TestPrefetchOfThisNode(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	a, c, _ := prefetching(t, "ahead")
	wanting(t, c, "ahead-of-another", "other:1")
	n := wanting(t, c, "ahead", "a:1", "b:1")
	g.Eventually(a.wants).Should(HaveLen(2))
	g.Expect(a.wants()[0].ManifestDigest).To(Equal(digest.FromString("a:1")))
	state := func(tag string) func() api.PrefetchState {
		return func() api.PrefetchState { return saying(t, c, n, tag).State }
	}
	g.Eventually(state("a:1")).Should(Equal(api.PrefetchPending))
	g.Expect(n.Status.ObservedGeneration).To(Equal(n.Generation))
	g.Expect(*n.Status.ImagesWanted).To(BeEquivalentTo(2))
	g.Expect(*n.Status.ImagesReady).To(BeZero())

	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Fetching, Bytes: 5, TotalBytes: 10})
	g.Eventually(state("a:1")).Should(Equal(api.PrefetchFetching))
	g.Expect(saying(t, c, n, "a:1").Bytes).To(BeEquivalentTo(5))
	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Ready, Bytes: 10, TotalBytes: 10})
	g.Eventually(state("a:1")).Should(Equal(api.PrefetchReady))
	a.is(prefetch.State{Tag: "b:1", Phase: prefetch.Failed, Err: localizer.ErrEvicted, RetryAt: time.Now()})
	g.Eventually(state("b:1")).Should(Equal(api.PrefetchFailed))
	b := saying(t, c, n, "b:1")
	g.Expect(b.Reason).To(Equal(api.ReasonEvicted))
	g.Expect(b.Message).To(And(ContainSubstring("evicted for a worker"), ContainSubstring("next attempt at")))
	g.Expect(*n.Status.ImagesReady).To(BeEquivalentTo(1))
	g.Expect(*n.Status.ImagesFailed).To(BeEquivalentTo(1))
	g.Eventually(func() []string {
		list := new(eventsv1.EventList)
		g.Expect(c.List(t.Context(), list)).To(Succeed())
		var reasons []string
		for _, e := range list.Items {
			if e.Regarding.UID == n.UID {
				reasons = append(reasons, e.Reason)
			}
		}
		return reasons
	}).Should(ConsistOf(api.ReasonPrefetched, api.ReasonEvicted))

	n.Spec.Images = n.Spec.Images[1:]
	g.Expect(c.Update(t.Context(), n)).To(Succeed())
	g.Eventually(func() int32 { saying(t, c, n, ""); return *n.Status.ImagesWanted }).Should(BeEquivalentTo(1))
	g.Expect(saying(t, c, n, "a:1").State).To(BeEmpty(), "what is not wanted is not told of")
	g.Expect(c.Delete(t.Context(), n)).To(Succeed())
	g.Eventually(a.wants).Should(BeEmpty(), "without a StormNode nothing is wanted")
}

// TestRuntimesAreReported: the manager places workers by what the agent says of them.
func TestRuntimesAreReported(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	a, c, _ := prefetching(t, "has-runtimes")
	n := wanting(t, c, "has-runtimes")
	says := func() []api.Runtime { saying(t, c, n, ""); return n.Status.Runtimes }
	for _, runtimes := range [][]worker.Runtime{{"Docker", worker.Runc}, {worker.Runc}} {
		a.has(runtimes...)
		var want []api.Runtime
		for _, r := range runtimes {
			want = append(want, api.Runtime(r))
		}
		g.Eventually(says).Should(Equal(want))
	}
}

func TestPrefetchKnowsTheResolvedImage(t *testing.T) {
	g := NewWithT(t)
	a, c, _ := prefetching(t, "ahead-resolved")
	image := &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "ahead-resolved"}, Spec: api.StormImageSpec{Tag: "storm/ahead"}}
	g.Expect(c.Create(t.Context(), image)).To(Succeed())
	t.Cleanup(func() { g.Expect(c.Delete(context.Background(), image)).To(Succeed()) })
	image.Status = api.StormImageStatus{
		ManifestDigest: string(digest.FromString("storm/ahead")),
		Layers:         []api.ImageLayer{{Digest: "sha256:l", Size: 5, File: "layers/l.sqsh", SquashfsDigest: "sha256:s", SquashfsSize: 4}},
	}
	g.Expect(c.Status().Update(t.Context(), image)).To(Succeed())
	wanting(t, c, "ahead-resolved", "storm/ahead")
	g.Eventually(a.wants, 20*time.Second).Should(ContainElement(HaveField("Layers", HaveLen(1))))
}

// TestPrefetchIsQuiet: nothing is written without news, much news at once is
// one write, and bytes alone are told of seldom.
func TestPrefetchIsQuiet(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	a, c, _ := prefetching(t, "ahead-quiet")
	n := wanting(t, c, "ahead-quiet", "a:1")
	version := func() string { saying(t, c, n, "a:1"); return n.ResourceVersion }
	a.is(prefetch.State{})
	g.Eventually(func() api.PrefetchState { return saying(t, c, n, "a:1").State }).Should(Equal(api.PrefetchPending))
	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Fetching, Bytes: 1, TotalBytes: 1000})
	g.Eventually(func() api.PrefetchState { return saying(t, c, n, "a:1").State }).Should(Equal(api.PrefetchFetching))
	is := version()
	for b := range int64(500) {
		a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Fetching, Bytes: b, TotalBytes: 1000})
	}
	g.Consistently(version, 2*time.Second).Should(Equal(is), "within the pause for bytes")
	g.Eventually(func() int64 { return saying(t, c, n, "a:1").Bytes }).Should(BeEquivalentTo(499))
	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Ready, Bytes: 1000, TotalBytes: 1000})
	g.Eventually(func() api.PrefetchState { return saying(t, c, n, "a:1").State }).Should(Equal(api.PrefetchReady))
	is = version()
	for range 20 {
		a.changes.Add()
	}
	g.Consistently(version, 2*time.Second).Should(Equal(is), "without news")
}

// TestPrefetchAfterARestart: what the cluster knows stands until the agent has
// looked, so that a restart is not seen.
func TestPrefetchAfterARestart(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	a, c, stop := prefetching(t, "ahead-again")
	n := wanting(t, c, "ahead-again", "a:1")
	g.Eventually(a.wants).Should(HaveLen(1))
	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Ready, Bytes: 10, TotalBytes: 10})
	g.Eventually(func() api.PrefetchState { return saying(t, c, n, "a:1").State }).Should(Equal(api.PrefetchReady))
	version := n.ResourceVersion
	stop()

	a, _, _ = prefetching(t, "ahead-again")
	g.Eventually(a.wants).Should(HaveLen(1))
	a.changes.Add()
	same := func() string { saying(t, c, n, "a:1"); return n.ResourceVersion }
	g.Consistently(same, 2*time.Second).Should(Equal(version), "it is looked at")
	a.is(prefetch.State{Tag: "a:1", Phase: prefetch.Failed, Err: errors.New(strings.Repeat("x", 5000)), RetryAt: time.Now()})
	g.Eventually(func() string { return saying(t, c, n, "a:1").Reason }).Should(Equal(api.ReasonLocalizeFailed), "and told of if it is not so any more")
}

// TestPortsOfThisNode: the StormNode says which ports are taken, in a condition and in
// events, and the agent learns from it who the managers are.
func TestPortsOfThisNode(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	a, c, _ := prefetching(t, "ports")
	n := wanting(t, c, "ports")
	condition := func() metav1.Condition {
		saying(t, c, n, "")
		if len(n.Status.Conditions) == 0 {
			return metav1.Condition{}
		}
		return n.Status.Conditions[0]
	}
	g.Eventually(condition).Should(HaveField("Reason", api.ReasonListening))
	g.Expect(n.Status.Agent.Port).To(BeEquivalentTo(9444))
	g.Expect(a.trusts()).To(BeEmpty())
	n.Spec.Managers = &api.StormNodeManagers{CABundle: []byte("managers")}
	g.Expect(c.Update(t.Context(), n)).To(Succeed())
	g.Eventually(a.trusts).Should(Equal("managers"))

	a.isTaken("port 9444 for the manager is taken by worker a/w")
	g.Eventually(condition).Should(And(HaveField("Reason", api.ReasonPortTaken), HaveField("Message", ContainSubstring("worker a/w"))))
	a.isTaken("")
	g.Eventually(condition).Should(HaveField("Reason", api.ReasonListening))
	g.Eventually(func() []string {
		list := new(eventsv1.EventList)
		g.Expect(c.List(t.Context(), list)).To(Succeed())
		var said []string
		for _, e := range list.Items {
			if e.Regarding.UID == n.UID {
				said = append(said, e.Type+" "+e.Reason)
			}
		}
		return said
	}).Should(ConsistOf("Warning "+api.ReasonPortTaken, "Normal "+api.ReasonListening))
}
