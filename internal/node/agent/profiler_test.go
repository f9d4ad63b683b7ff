package agent_test

import (
	"context"
	"sync"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/profile"
)

// slowScripts is a node whose profiler scripts end when a test says so, or when
// they are given up.
type slowScripts struct {
	end chan struct{}

	mu      sync.Mutex
	running map[string]int // by worker
	givenUp int
}

func (s *slowScripts) Run(ctx context.Context, worker, _ string) (profile.Result, error) {
	s.count(worker, 1)
	defer s.count(worker, -1)
	select {
	case <-s.end:
		return profile.Result{}, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.givenUp++
		return profile.Result{}, ctx.Err()
	}
}

func (s *slowScripts) Kill(context.Context, string) error { return nil }

func (s *slowScripts) count(worker string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[worker] += n
}

func (s *slowScripts) runs(worker string) func() int {
	return func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running[worker]
	}
}

// profiling runs the profiling part of an agent.
func profiling(t *testing.T, node string) (*slowScripts, client.Client) {
	t.Helper()
	g := NewWithT(t)
	admin, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	g.Expect(err).NotTo(HaveOccurred())
	options := agent.ManagerOptions(node)
	options.Metrics = server.Options{BindAddress: "0"}
	options.Controller = config.Controller{SkipNameValidation: new(true)}
	mgr, err := ctrl.NewManager(testCluster.Config, options)
	g.Expect(err).NotTo(HaveOccurred())
	s := &slowScripts{end: make(chan struct{}), running: map[string]int{}}
	p := &agent.Profiler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder(api.AgentFieldOwner), Profiles: s, Changes: new(agent.ProfileChanges),
	}
	g.Expect(p.SetupWithManager(mgr)).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Expect(<-done).To(Succeed())
	})
	return s, admin
}

// TestProfilesOfOneWorker: one after the other, those of another beside them, and
// one whose object is deleted is given up.
func TestProfilesOfOneWorker(t *testing.T) {
	g := NewWithT(t)
	const node = "profiles"
	s, c := profiling(t, node)
	bound := func(name, worker string) *api.StormProfile {
		p := &api.StormProfile{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
			Spec:       api.StormProfileSpec{WorkerName: "w", Action: api.ProfileFlightRecordStart},
		}
		g.Expect(c.Create(t.Context(), p)).To(Succeed())
		t.Cleanup(func() {
			g.Expect(client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), p))).To(Succeed())
		})
		p.Status.NodeName, p.Status.WorkerUID = node, worker
		g.Expect(c.Status().Update(t.Context(), p)).To(Succeed())
		return p
	}
	says := func(p *api.StormProfile) func() string {
		return func() string {
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(p), p)).To(Succeed())
			if len(p.Status.Conditions) == 0 {
				return ""
			}
			return p.Status.Conditions[0].Reason
		}
	}
	first := bound("first", "a")
	g.Eventually(says(first), "20s").Should(Equal(api.ReasonProfiling))
	second, other := bound("second", "a"), bound("other", "b")
	g.Eventually(says(other), "20s").Should(Equal(api.ReasonProfiling))
	g.Consistently(s.runs("a")).Should(Equal(1))
	g.Expect(says(second)()).To(BeEmpty(), "its turn has not come")

	g.Expect(c.Delete(t.Context(), first)).To(Succeed())
	g.Eventually(says(second), "20s").Should(Equal(api.ReasonProfiling))
	g.Eventually(s.runs("a"), "20s").Should(Equal(1))
	s.mu.Lock()
	g.Expect(s.givenUp).To(Equal(1))
	s.mu.Unlock()
	close(s.end)
	for _, p := range []*api.StormProfile{second, other} {
		g.Eventually(says(p), "20s").Should(Equal(api.ReasonSucceeded))
	}
}
