// Package explain says in a sentence why a worker does not run, or that it runs,
// and what to do next. It decides by facts that its caller has gathered.
package explain

import (
	"cmp"
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

// Facts are what is known of a worker. Only Worker and Now are required: not
// everybody has the right to read the rest.
type Facts struct {
	Worker *api.StormWorker
	// Image is the StormImage of the worker's tag.
	Image *api.StormImage
	// Node is the Node that the worker is bound to. NodeGone: there is none.
	Node     *corev1.Node
	NodeGone bool
	// Lease is the one that the node's agent renews. LeaseGone: there is none.
	Lease     *coordinationv1.Lease
	LeaseGone bool
	// Events are the events of the worker.
	Events []corev1.Event
	Now    time.Time
}

// Explanation is the state of a worker in words.
type Explanation struct {
	// Sentence is the current state and its cause.
	Sentence string `json:"sentence"`
	// Said is the message of the worker's condition Ready, with the details.
	Said string `json:"said,omitempty"`
	// Before is the last failure before the current state.
	Before string `json:"before,omitempty"`
	// Next is what to do.
	Next string `json:"next"`
}

// Worker explains the state of a worker.
func Worker(f Facts) Explanation {
	ready := meta.FindStatusCondition(f.Worker.Status.Conditions, api.WorkerReady)
	if ready == nil {
		return f.fill(fmt.Sprintf("no manager has processed it since it was created %s ago", f.since(f.Worker.CreationTimestamp)),
			"check whether the manager runs: kubectl -n {system} get deployments,pods")
	}
	explainer, known := explanations[f.cause(ready.Reason)]
	switch {
	case known:
	case ready.Reason == f.runtime().ReasonUnavailable():
		explainer = unavailable
	default:
		explainer = fixed("its state is "+ready.Reason, "kubectl -n {namespace} describe stormworker {name} shows more")
	}
	s := f.fill(explainer(f))
	s.Sentence += f.silence(ready.Reason)
	if ready.Status != metav1.ConditionTrue {
		s.Said = ready.Message
	}
	s.Before = f.before(ready.Reason)
	return s
}

// cause returns the reason to explain: that of the image, if the image is at fault
// and there is an explanation of its reason.
func (f Facts) cause(reason string) string {
	if reason != api.ReasonImageNotResolved || f.Image == nil {
		return reason
	}
	if c := meta.FindStatusCondition(f.Image.Status.Conditions, api.ImageResolved); c != nil && explanations[c.Reason] != nil {
		return c.Reason
	}
	return reason
}

// explainer returns why a worker is in a state, to follow "worker NAME does not
// run: ", and what to do next. Both may contain the names that fill replaces.
type explainer func(Facts) (why, next string)

func fixed(why, next string) explainer { return func(Facts) (string, string) { return why, next } }

// fill returns an explanation, with the worker's own names in place of {…}.
func (f Facts) fill(why, next string) Explanation {
	w := f.Worker
	lead := "worker {name} does not run: "
	if ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); ready != nil {
		switch ready.Status {
		case metav1.ConditionTrue:
			lead = "worker {name} "
		case metav1.ConditionUnknown:
			lead = "it is not known whether worker {name} runs: "
		default:
		}
	}
	names := strings.NewReplacer(
		"{name}", w.Name, "{namespace}", w.Namespace, "{node}", w.Status.NodeName, "{tag}", f.tag(),
		"{port}", strconv.Itoa(int(w.Spec.Port)), "{user}", w.Spec.User, "{program}", f.program(),
		"{wanted}", w.Spec.NodeName, "{runtime}", string(f.runtime()), "{system}", api.SystemNamespace)
	return Explanation{Sentence: names.Replace(lead + why), Next: names.Replace(next)}
}

// tag returns the tag of the image that the worker runs or asks for.
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

// runtime returns the runtime of the worker, or the one that it asks for.
func (f Facts) runtime() api.Runtime {
	return cmp.Or(f.Worker.Status.Runtime, f.Worker.Spec.Runtime, api.RuntimeRunc)
}

func (f Facts) program() string {
	if len(f.Worker.Spec.Command) == 0 {
		return "of spec.command"
	}
	return f.Worker.Spec.Command[0]
}

// since returns how long ago t was.
func (f Facts) since(t metav1.Time) string { return duration.HumanDuration(f.Now.Sub(t.Time)) }

// silence adds that the report of a node's agent may be outdated, if the agent does
// not renew its Lease. The explanation of a lost node says so itself.
func (f Facts) silence(reason string) string {
	quiet, silent := f.silentFor()
	reported := meta.FindStatusCondition(f.Worker.Status.Conditions, api.WorkerLocalized) != nil
	if !silent || !reported || reason == api.ReasonNodeLost {
		return ""
	}
	return fmt.Sprintf("; but the node-agent of %s has been silent for %s, so this may be outdated", f.Worker.Status.NodeName, quiet)
}

// silentFor returns how long the node's agent has been silent, and whether that is
// longer than the duration of its Lease.
func (f Facts) silentFor() (string, bool) {
	if f.Lease == nil || f.Lease.Spec.RenewTime == nil || f.Lease.Spec.LeaseDurationSeconds == nil {
		return "", false
	}
	quiet := f.Now.Sub(f.Lease.Spec.RenewTime.Time)
	return duration.HumanDuration(quiet), quiet > time.Duration(*f.Lease.Spec.LeaseDurationSeconds)*time.Second
}

// before returns the last failure that events report, other than the current one.
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

// seen returns when an event was last seen. The field depends on the API by which
// it was written.
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
