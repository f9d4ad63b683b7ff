package hostile

import (
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

// listening is what the StormNode says of the agent's ports.
func listening(t *testing.T) metav1.Condition {
	t.Helper()
	n := new(api.StormNode)
	if err := s.Client.Get(t.Context(), types.NamespacedName{Name: stack.NodeName}, n); err != nil {
		return metav1.Condition{Message: err.Error()}
	}
	if c := meta.FindStatusCondition(n.Status.Conditions, api.NodeListening); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// eventsOf are the notes of the events of the node with a reason.
func eventsOf(t *testing.T, reason string) []string {
	t.Helper()
	list := new(eventsv1.EventList)
	if err := s.Client.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, e := range list.Items {
		if e.Regarding.Kind == "StormNode" && e.Reason == reason {
			notes = append(notes, e.Note)
		}
	}
	return notes
}

// TestPortOfTheAgent: a worker takes a port of the agent's while that starts again.
// The agent starts without it, answers the manager all the same, says who has the
// port, and takes it when it can.
func TestPortOfTheAgent(t *testing.T) {
	for name, tt := range map[string]struct {
		address, says string
		metric        string
	}{
		"manager": {s.AgentConnectAddress(), `port 9444 for the manager is taken by worker default/taker-manager-runc \(pid \d+\), and the agent listens on port \d+ instead; end what has it`, `stormcell_port_taken{use="connect"}`},
		"metrics": {s.AgentMetricsAddress(), `port 9181 for metrics is taken by worker default/taker-metrics-runc \(pid \d+\); end what has it`, `stormcell_port_taken{use="metrics"}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := suite.Expect(t)
			taker := start(t, api.RuntimeRunc, "taker-"+name, func(*api.StormWorkerSpec) []string { return []string{"listen", tt.address} })
			suite.WaitFor(t, s.Client, taker, api.ReasonRunning)
			g.Expect(s.StopAgent(syscall.SIGTERM)).To(Succeed())
			g.Eventually(func() string { return logOf(t, taker) }).Should(ContainSubstring("listening"))

			started := time.Now()
			g.Expect(s.StartAgent()).To(Succeed())
			g.Expect(s.AwaitAgent(t.Context(), started)).To(Succeed())
			g.Eventually(func() metav1.Condition { return listening(t) }).Should(And(
				HaveField("Status", metav1.ConditionFalse), HaveField("Reason", api.ReasonPortTaken), HaveField("Message", MatchRegexp(tt.says))))
			g.Eventually(func() []string { return eventsOf(t, api.ReasonPortTaken) }).Should(ContainElement(MatchRegexp(tt.says)))
			if name == "manager" {
				g.Eventually(func() (string, error) { return s.AgentMetrics(t.Context()) }).Should(ContainSubstring(tt.metric + " 1"))
			}
			g.Eventually(func() (string, error) { return readLog(t.Context(), taker) }).Should(ContainSubstring("listening"), "the manager finds the agent")

			// It does its work, of which the end of that worker is a part.
			suite.Remove(t, s.Client, taker)
			g.Eventually(func() (string, error) { return s.AgentMetrics(t.Context()) }).Should(ContainSubstring(tt.metric + " 0"))
			g.Eventually(func() metav1.Condition { return listening(t) }).Should(HaveField("Reason", api.ReasonListening))
			g.Eventually(func() []string { return eventsOf(t, api.ReasonListening) }).ShouldNot(BeEmpty())
		})
	}
}
