// Package story tells in a sentence why a worker does not run, or how it does,
// and what to do next. It decides on facts that others have gathered.
package story

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Facts are what is known of a worker. Only Worker and Now must be there: not
// everybody may read the rest.
type Facts struct {
	Worker *api.StormWorker
	// Image is the StormImage of the worker's tag.
	Image *api.StormImage
	// Node is what the worker is bound to. NodeGone says that there is none.
	Node     *corev1.Node
	NodeGone bool
	// Lease is what the node's agent renews while it lives. LeaseGone says that
	// there is none.
	Lease     *coordinationv1.Lease
	LeaseGone bool
	// Events are the worker's.
	Events []corev1.Event
	Now    time.Time
}

// Story is what there is to say of a worker.
type Story struct {
	// Sentence says what is so, and why.
	Sentence string `json:"sentence"`
	// Said is what the daemon says that knows best, with the particulars.
	Said string `json:"said,omitempty"`
	// Before is the last trouble before the present state.
	Before string `json:"before,omitempty"`
	// Next is what to do.
	Next string `json:"next"`
}

// Tell tells a worker's story.
func Tell(f Facts) Story {
	ready := meta.FindStatusCondition(f.Worker.Status.Conditions, api.WorkerReady)
	if ready == nil {
		return f.fill(fmt.Sprintf("no manager has looked at it since it was made %s ago", f.since(f.Worker.CreationTimestamp)),
			"see whether the manager runs: kubectl -n {system} get deployments,pods")
	}
	told, known := stories[f.cause(ready.Reason)]
	if !known {
		told = say("its state is "+ready.Reason, "kubectl -n {namespace} describe stormworker {name} tells more")
	}
	s := f.fill(told(f))
	s.Sentence += f.silence(ready.Reason)
	if ready.Status != metav1.ConditionTrue {
		s.Said = ready.Message
	}
	s.Before = f.before(ready.Reason)
	return s
}

// cause is what is wrong with the image, where that is the reason, and a story
// tells of it.
func (f Facts) cause(reason string) string {
	if reason != api.ReasonImageNotResolved || f.Image == nil {
		return reason
	}
	if c := meta.FindStatusCondition(f.Image.Status.Conditions, api.ImageResolved); c != nil && stories[c.Reason] != nil {
		return c.Reason
	}
	return reason
}

// teller says why a worker is in a state, as what follows the colon of "worker
// NAME does not run: ", and what to do. Both may hold the names of fill.
type teller func(Facts) (why, next string)

func say(why, next string) teller { return func(Facts) (string, string) { return why, next } }

// fill makes a story, with the worker's own names in place of {…}.
func (f Facts) fill(why, next string) Story {
	w := f.Worker
	lead := "worker {name} does not run: "
	if ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); ready != nil {
		switch ready.Status {
		case metav1.ConditionTrue:
			lead = "worker {name} "
		case metav1.ConditionUnknown:
			lead = "nobody knows whether worker {name} runs: "
		default:
		}
	}
	names := strings.NewReplacer(
		"{name}", w.Name, "{namespace}", w.Namespace, "{node}", w.Status.NodeName, "{tag}", f.tag(),
		"{port}", strconv.Itoa(int(w.Spec.Port)), "{user}", w.Spec.User, "{program}", f.program(),
		"{wanted}", w.Spec.NodeName, "{system}", api.SystemNamespace)
	return Story{Sentence: names.Replace(lead + why), Next: names.Replace(next)}
}

// tag is the image that the worker runs or asks for.
func (f Facts) tag() string {
	switch {
	case f.Worker.Status.Image != nil:
		return f.Worker.Status.Image.Tag
	case f.Worker.Spec.Image != "":
		return f.Worker.Spec.Image
	case f.Image != nil:
		return f.Image.Spec.Tag
	default:
		return "of the cluster's default"
	}
}

func (f Facts) program() string {
	if len(f.Worker.Spec.Command) == 0 {
		return "of spec.command"
	}
	return f.Worker.Spec.Command[0]
}

// since says how long ago t was.
func (f Facts) since(t metav1.Time) string { return duration.HumanDuration(f.Now.Sub(t.Time)) }

// silence says that what a node's agent has told may be old, if that does not
// renew its Lease. Of a node that is given up, the story says it itself.
func (f Facts) silence(reason string) string {
	quiet, silent := f.silentFor()
	told := meta.FindStatusCondition(f.Worker.Status.Conditions, api.WorkerLocalized) != nil
	if !silent || !told || reason == api.ReasonNodeLost {
		return ""
	}
	return fmt.Sprintf("; but the node-agent of %s has been silent for %s, so this may be old", f.Worker.Status.NodeName, quiet)
}

// silentFor is for how long the node's agent has been silent, if it has been for
// longer than it promises.
func (f Facts) silentFor() (string, bool) {
	if f.Lease == nil || f.Lease.Spec.RenewTime == nil || f.Lease.Spec.LeaseDurationSeconds == nil {
		return "", false
	}
	quiet := f.Now.Sub(f.Lease.Spec.RenewTime.Time)
	return duration.HumanDuration(quiet), quiet > time.Duration(*f.Lease.Spec.LeaseDurationSeconds)*time.Second
}

// before is the last trouble that events tell of, other than the present one.
func (f Facts) before(present string) string {
	var last *corev1.Event
	for i := range f.Events {
		e := &f.Events[i]
		if e.Type == corev1.EventTypeWarning && e.Reason != present && (last == nil || seen(e).After(seen(last))) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return fmt.Sprintf("%s ago %s: %s", f.since(metav1.NewTime(seen(last))), last.Reason, last.Message)
}

// seen is when an event was last seen; which field tells depends on the API that
// it was written by.
func seen(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
