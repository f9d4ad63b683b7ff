package controllers

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func newProfile(name, worker string) *api.StormProfile {
	return &api.StormProfile{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec:       api.StormProfileSpec{WorkerName: worker, Action: api.ProfileJStack},
	}
}

// TestProfileIsBound: by the manager's own rights, on a real API server.
func TestProfileIsBound(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	w.store.add("storm/a:1", "x")
	w.addNode("n1")
	w.run(minute)
	worker := newWorker("profiled", "", 6700)
	w.create(worker)
	w.bound(worker)
	early := newProfile("early", worker.Name)
	w.create(early)
	w.profileSays(early, metav1.ConditionTrue, api.ReasonFailed, "StormWorker profiled is not running (")
	w.report(worker, metav1.ConditionTrue, api.ReasonRunning)
	p := newProfile("now", worker.Name)
	w.create(p)
	w.profileSays(p, metav1.ConditionFalse, api.ReasonPending, "node n1 has not started the profile yet")
	if p.Status.NodeName != "n1" || p.Status.WorkerUID != string(worker.UID) {
		t.Errorf("bound to %+v", p.Status)
	}
	none := newProfile("none", "nobody")
	w.create(none)
	w.profileSays(none, metav1.ConditionTrue, api.ReasonFailed, "there is no StormWorker nobody in namespace default")
	if none.Status.FinishedAt == nil {
		t.Error("it has no end")
	}
	w.must(w.c.DeleteAllOf(w.ctx, &api.StormProfile{}, client.InNamespace(metav1.NamespaceDefault)))
}

// lagging is a cache that has not seen any worker yet.
type lagging struct{ client.Client }

func (l lagging) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if _, ok := obj.(*api.StormWorker); ok {
		return errors.NewNotFound(schema.GroupResource{Group: api.GroupVersion.Group, Resource: "stormworkers"}, key.Name)
	}
	return l.Client.Get(ctx, key, obj, opts...)
}

// TestProfileOfAWorkerThatTheCacheLacks: the end of a profile is final, so a
// cache that lags must not bring it about.
func TestProfileOfAWorkerThatTheCacheLacks(t *testing.T) {
	w := newWorld(t, "storm/a:1") // no manager runs
	worker := newWorker("seen", "", 6700)
	w.create(worker)
	worker.Status.NodeName = "n1"
	meta.SetStatusCondition(&worker.Status.Conditions, metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionTrue, Reason: api.ReasonRunning})
	w.must(w.c.Status().Update(w.ctx, worker))
	p := newProfile("of-seen", worker.Name)
	w.create(p)
	r := &profileReconciler{client: lagging{w.c}, live: w.c, events: events.NewFakeRecorder(10), clock: clock.RealClock{}}
	if _, err := r.bind(w.ctx, p); err != nil {
		t.Fatal(err)
	}
	w.profileSays(p, metav1.ConditionFalse, api.ReasonPending, "node n1 has not started the profile yet")
	w.must(w.c.DeleteAllOf(w.ctx, &api.StormProfile{}, client.InNamespace(metav1.NamespaceDefault)))
}

func (w *world) profileSays(p *api.StormProfile, status metav1.ConditionStatus, reason, words string) {
	w.Helper()
	w.eventually(func() error {
		if err := w.c.Get(w.ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, api.ProfileComplete)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, words) {
			return fmt.Errorf("StormProfile %s says %+v", p.Name, c)
		}
		return nil
	})
}

// TestOldProfileGoes: the status says that it ended long ago.
func TestOldProfileGoes(t *testing.T) {
	w := newWorld(t, "storm/a:1")
	p := newProfile("old", "nobody")
	w.create(p)
	p.Status.FinishedAt = &metav1.Time{Time: time.Now().Add(-profileAge)}
	w.must(w.c.Status().Update(w.ctx, p))
	w.run(minute)
	w.eventually(func() error {
		if err := w.c.Get(w.ctx, client.ObjectKeyFromObject(p), p); !errors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

func TestProfileEnd(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	finished := metav1.NewTime(created.Add(time.Hour))
	for name, tt := range map[string]struct {
		change func(*api.StormProfile)
		want   time.Time
	}{
		"never finished": {func(*api.StormProfile) {}, created.Add(24 * time.Hour)},
		"a recording":    {func(p *api.StormProfile) { p.Spec.Duration = &metav1.Duration{Duration: time.Hour} }, created.Add(25 * time.Hour)},
		"finished":       {func(p *api.StormProfile) { p.Status.FinishedAt = &finished }, created.Add(25 * time.Hour)},
		"a finished recording": {func(p *api.StormProfile) {
			p.Spec.Duration, p.Status.FinishedAt = &metav1.Duration{Duration: 9 * time.Hour}, &finished
		}, created.Add(25 * time.Hour)},
	} {
		p := newProfile("p", "w")
		p.CreationTimestamp = metav1.NewTime(created)
		if tt.change(p); !profileEnd(p).Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, profileEnd(p), tt.want)
		}
	}
}
