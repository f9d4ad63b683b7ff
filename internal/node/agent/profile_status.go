package agent

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/node/profile"
)

// profileEnd is how a run ended.
type profileEnd struct {
	verb    string
	result  profile.Result
	err     error
	begunAt time.Time
	// at is when it ended; zero while it has not.
	at time.Time
}

func (e profileEnd) over() bool { return !e.at.IsZero() }

// verbKill is not the script's: a worker is killed from outside.
const verbKill = "kill"

// verbs are what the actions ask of the profiler script.
var verbs = map[api.ProfileAction]string{
	api.ProfileJStack:            string(profile.JStack),
	api.ProfileHeapDump:          string(profile.JMap),
	api.ProfileFlightRecordStart: string(profile.Start),
	api.ProfileFlightRecordDump:  string(profile.Dump),
	api.ProfileFlightRecordStop:  string(profile.Stop),
	api.ProfileRestart:           verbKill,
}

// profileStep is what is to be done about a profile.
type profileStep struct {
	// status is what its status shall say, before all else; nil for what it says.
	status *api.StormProfileStatus
	// forget is true if what is known of its run is of no more use.
	forget bool
	// verb is what to begin, or "".
	verb string
	// after is when to look again; 0 for when something changes.
	after time.Duration
}

// nextOfProfile decides by what a profile says of itself and, if this process
// has begun a run of it, how that stands: nil for none.
func nextOfProfile(o *api.StormProfile, run *profileEnd, now time.Time) profileStep {
	switch reason := condition.Reason(o.Status.Conditions, api.ProfileComplete); {
	case reason == api.ReasonSucceeded, reason == api.ReasonFailed:
		return profileStep{forget: true}
	case run != nil && !run.over():
		return profileStep{}
	case reason == api.ReasonRecording && (run == nil || run.verb == string(profile.Start)):
		return nextOfRecording(o, now)
	case run != nil:
		return profileStep{status: endedProfile(o, *run, now)}
	case reason == api.ReasonProfiling:
		return profileStep{status: interruptedProfile(o, now)}
	default:
		return profileStep{status: begunProfile(o, now), verb: verbs[o.Spec.Action]}
	}
}

func nextOfRecording(o *api.StormProfile, now time.Time) profileStep {
	if left := recordingEnd(o).Sub(now); left > 0 {
		return profileStep{forget: true, after: left}
	}
	return profileStep{forget: true, verb: string(profile.Stop)}
}

// recordingEnd is when a recording with a duration shall stop.
func recordingEnd(o *api.StormProfile) time.Time {
	if o.Status.StartedAt == nil || o.Spec.Duration == nil {
		return time.Time{}
	}
	return o.Status.StartedAt.Add(o.Spec.Duration.Duration)
}

// ownProfileStatus is the agent's part of what o says.
func ownProfileStatus(o *api.StormProfile) *api.StormProfileStatus {
	s := o.Status.DeepCopy()
	s.NodeName, s.WorkerUID = "", ""
	return s
}

// saysComplete returns the agent's part of o's status with another condition.
func saysComplete(o *api.StormProfile, status metav1.ConditionStatus, reason, message string, now time.Time) *api.StormProfileStatus {
	s := ownProfileStatus(o)
	condition.Set(&s.Conditions, metav1.Condition{Type: api.ProfileComplete, Status: status, Reason: reason, Message: message}, o.Generation, now)
	return s
}

func begunProfile(o *api.StormProfile, now time.Time) *api.StormProfileStatus {
	s := saysComplete(o, metav1.ConditionFalse, api.ReasonProfiling, fmt.Sprintf("%s of StormWorker %s has begun", o.Spec.Action, o.Spec.WorkerName), now)
	s.StartedAt = &metav1.Time{Time: now.Truncate(time.Second)}
	return s
}

// interruptedProfile is for one that an earlier agent has begun. It is not begun
// again: nobody knows how far it came.
func interruptedProfile(o *api.StormProfile, now time.Time) *api.StormProfileStatus {
	s := saysComplete(o, metav1.ConditionTrue, api.ReasonFailed, "the node-agent was restarted meanwhile, which ends profiler scripts; create another profile", now)
	s.FinishedAt = &metav1.Time{Time: now.Truncate(time.Second)}
	return s
}

func endedProfile(o *api.StormProfile, end profileEnd, now time.Time) *api.StormProfileStatus {
	if o = o.DeepCopy(); o.Status.StartedAt == nil { // it is older than what was written
		o.Status.StartedAt = &metav1.Time{Time: end.begunAt.Truncate(time.Second)}
	}
	var s *api.StormProfileStatus
	recording := o.Spec.Duration != nil && end.verb == string(profile.Start)
	switch {
	case end.err != nil:
		s = saysComplete(o, metav1.ConditionTrue, api.ReasonFailed, failedProfile(end), now)
	case recording:
		s = saysComplete(o, metav1.ConditionFalse, api.ReasonRecording, "a flight recording runs until "+recordingEnd(o).UTC().Format(time.RFC3339), now)
	default:
		s = saysComplete(o, metav1.ConditionTrue, api.ReasonSucceeded, succeededProfile(o, end), now)
	}
	s.Files, s.Output = end.result.Files, end.result.Output
	if end.err != nil || !recording {
		s.FinishedAt = &metav1.Time{Time: end.at.Truncate(time.Second)}
	}
	return s
}

func failedProfile(end profileEnd) string {
	message := end.err.Error()
	if lines := strings.Split(end.result.Output, "\n"); lines[0] != "" {
		message += "; its last output: " + lines[len(lines)-1]
	}
	return message
}

func succeededProfile(o *api.StormProfile, end profileEnd) string {
	switch {
	case len(end.result.Files) > 0:
		return fmt.Sprintf("wrote %s on node %s", strings.Join(end.result.Files, " and "), o.Status.NodeName)
	case o.Spec.Action == api.ProfileRestart:
		return "the worker was killed; its restart policy decides what follows"
	case o.Spec.Action == api.ProfileFlightRecordStart:
		return "a flight recording runs until a profile with action FlightRecordStop"
	default:
		return "done"
	}
}
