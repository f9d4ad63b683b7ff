package suite

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Profiled makes a profile and waits for a reason of its condition.
func Profiled(t *testing.T, c client.WithWatch, worker string, action api.ProfileAction, reason string, duration ...time.Duration) *api.StormProfile {
	t.Helper()
	p := &api.StormProfile{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: metav1.NamespaceDefault},
		Spec:       api.StormProfileSpec{WorkerName: worker, Action: action},
	}
	for _, d := range duration {
		p.Spec.Duration = &metav1.Duration{Duration: d}
	}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), p)); err != nil {
			t.Error(err)
		}
	})
	AwaitProfile(t, c, p, reason)
	return p
}

// AwaitProfile waits until a profile's condition has a reason, in p or in any state
// that follows, and reads that state into p. It watches, since a state such as
// Recording may last for less time than a busy test takes to look again.
func AwaitProfile(t *testing.T, c client.WithWatch, p *api.StormProfile, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	follow, err := c.Watch(ctx, new(api.StormProfileList), &client.ListOptions{
		Namespace: p.Namespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", p.Name),
		Raw: &metav1.ListOptions{ResourceVersion: p.ResourceVersion},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Stop()
	for completion(p).Reason != reason {
		event, ok := <-follow.ResultChan()
		next, isProfile := event.Object.(*api.StormProfile)
		if !ok || !isProfile || event.Type == watch.Deleted {
			t.Fatalf("profile %s does not come to %s (%v, %v): %s: %s: %s", p.Name, reason, ctx.Err(), event,
				completion(p).Reason, completion(p).Message, p.Status.Output)
		}
		*p = *next
	}
}

// completion is a profile's condition, or an empty one.
func completion(p *api.StormProfile) metav1.Condition {
	if c := meta.FindStatusCondition(p.Status.Conditions, api.ProfileComplete); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// Profiles does to a worker with a JDK, whose main thread is called
// spinner-of-the-test, what the buttons of Storm's UI do, by objects alone.
func Profiles(t *testing.T, c client.WithWatch, w *api.StormWorker) {
	t.Helper()
	g := Expect(t)
	said := func(p *api.StormProfile) string { return completion(p).Message }
	p := Profiled(t, c, w.Name, api.ProfileJStack, api.ReasonSucceeded)
	g.Expect(p.Status.Files).To(gomega.ConsistOf(gomega.MatchRegexp(`/artifacts/it-1-1608581491/\d+/jstack-1-\d{14}\.txt$`)))
	g.Expect(said(p)).To(gomega.Equal("wrote " + p.Status.Files[0] + " on node " + w.Status.NodeName))
	g.Expect(os.ReadFile(p.Status.Files[0])).To(gomega.ContainSubstring("spinner-of-the-test"))

	p = Profiled(t, c, w.Name, api.ProfileHeapDump, api.ReasonSucceeded)
	g.Expect(os.ReadFile(p.Status.Files[0])).To(gomega.HavePrefix("JAVA PROFILE"))

	p = Profiled(t, c, w.Name, api.ProfileFlightRecordStart, api.ReasonRecording, time.Second)
	AwaitProfile(t, c, p, api.ReasonSucceeded)
	g.Expect(p.Status.Files).To(gomega.HaveLen(1))
	out, err := exec.CommandContext(t.Context(), "jfr", "summary", p.Status.Files[0]).CombinedOutput()
	g.Expect(err).NotTo(gomega.HaveOccurred(), "%s", out)
	g.Expect(string(out)).To(gomega.MatchRegexp(`jdk\.JVMInformation +[1-9]`))

	p = Profiled(t, c, w.Name, api.ProfileFlightRecordStop, api.ReasonFailed)
	g.Expect(said(p)).To(gomega.ContainSubstring("no flight recording runs"))

	before := w.Status.PID
	Profiled(t, c, w.Name, api.ProfileRestart, api.ReasonSucceeded)
	g.Eventually(func(g gomega.Gomega) {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(w), w)).To(gomega.Succeed())
		g.Expect(w.Status.RestartCount).To(gomega.Equal(int32(1)))
		g.Expect(w.Status.PID).NotTo(gomega.Or(gomega.BeZero(), gomega.Equal(before)))
	}).Should(gomega.Succeed())
}
