package agent

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// statusOf is the agent's whole part of w's status, for a worker in state s.
func statusOf(w *api.StormWorker, s engine.State, now time.Time) *api.StormWorkerStatus {
	status := &api.StormWorkerStatus{
		ContainerID:  s.ContainerID,
		PID:          int64(s.PID),
		RestartCount: max(int32(s.Restarts), w.Status.RestartCount), //nolint:gosec // far below 2^31
		LastExit:     exitOf(s.LastExit),
		Conditions:   ownConditions(w),
	}
	if status.LastExit == nil {
		status.LastExit = w.Status.LastExit
	}
	if !s.StartedAt.IsZero() {
		status.StartedAt = &metav1.Time{Time: s.StartedAt.Truncate(time.Second)}
	}
	if s.TotalBytes > 0 {
		status.Localization = &api.WorkerLocalization{Bytes: s.LocalizedBytes, TotalBytes: s.TotalBytes}
	}
	for _, c := range conditionsOf(w, s) {
		condition.Set(&status.Conditions, c, w.Generation, now)
	}
	return status
}

// ownConditions copies the conditions that agents write, so that the time of
// their last transition lives on.
func ownConditions(w *api.StormWorker) []metav1.Condition {
	return condition.Select(w.Status.Conditions, api.WorkerLocalized, api.WorkerMounted, api.WorkerRunning, api.WorkerReady)
}

// reported tells whether w already says what status says.
func reported(w *api.StormWorker, status *api.StormWorkerStatus) bool {
	is := w.Status.DeepCopy()
	is.NodeName, is.Runtime, is.Image, is.Conditions = "", "", nil, ownConditions(w)
	return equality.Semantic.DeepEqual(is, status)
}

func exitOf(e *runtime.Exit) *api.WorkerExit {
	if e == nil {
		return nil
	}
	return &api.WorkerExit{
		ExitCode: int32(e.Code), Signal: int32(e.Signal), OOMKilled: e.OOMKilled, EphemeralStorageExceeded: e.StorageExceeded, //nolint:gosec // 0..255
		FinishedAt: metav1.NewTime(e.At.Truncate(time.Second)),
	}
}

// conditionsOf tells the state as conditions, Ready last.
func conditionsOf(w *api.StormWorker, s engine.State) []metav1.Condition {
	reason, message := stateMessage(s)
	if refused(w) && w.DeletionTimestamp.IsZero() && s.Phase != engine.Running && s.Phase != engine.Ended {
		verdict := meta.FindStatusCondition(w.Status.Conditions, api.WorkerAdmitted)
		reason, message = verdict.Reason, verdict.Message
	}
	return []metav1.Condition{
		conditionOf(api.WorkerLocalized, s.Localized, api.ReasonLocalized, localizedMessage(s), reason, message),
		conditionOf(api.WorkerMounted, s.Mounted, api.ReasonMounted, mountedMessage(s), reason, message),
		conditionOf(api.WorkerRunning, s.Phase == engine.Running, api.ReasonRunning, message, reason, message),
		conditionOf(api.WorkerReady, s.Phase == engine.Running, api.ReasonRunning, message, reason, message),
	}
}

func mountedMessage(s engine.State) string {
	if r := api.Runtime(s.Runtime); r.PullsImages() {
		return fmt.Sprintf("%s mounts the image", r)
	}
	return "the layers are mounted and stacked"
}

func localizedMessage(s engine.State) string {
	if r := api.Runtime(s.Runtime); r.PullsImages() {
		return fmt.Sprintf("%s has the image", r)
	}
	if s.Unverified == 0 {
		return "every layer is on the node, verified"
	}
	return fmt.Sprintf("every layer is on the node; %d could not be verified, since the store has no identity for them (stormcell.image.verify)", s.Unverified)
}

func conditionOf(t string, is bool, trueReason, trueMessage, reason, message string) metav1.Condition {
	if is {
		return metav1.Condition{Type: t, Status: metav1.ConditionTrue, Reason: trueReason, Message: trueMessage}
	}
	return metav1.Condition{Type: t, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// stateMessage returns the state as a reason and a message.
func stateMessage(s engine.State) (reason, message string) {
	switch s.Phase {
	case engine.Waiting:
		return api.ReasonPortInUse, fmt.Sprintf("waits until StormWorker %s, which uses its port or its id on this node, is removed", s.Blocker)
	case engine.Localizing:
		if s.TotalBytes == 0 {
			return api.ReasonLocalizing, "the image is being fetched to the node"
		}
		return api.ReasonLocalizing, fmt.Sprintf("the image is being fetched to the node: %d of %d MB", s.LocalizedBytes/1e6, s.TotalBytes/1e6)
	case engine.Mounting, engine.Starting:
		return api.ReasonStarting, "the image is on the node, the container is being created"
	case engine.Running:
		return api.ReasonRunning, fmt.Sprintf("container %s runs", s.ContainerID)
	case engine.BackOff:
		return backOffMessage(s)
	case engine.Ended:
		return endReason(s.LastExit), exitMessage(s.LastExit) + limitMessage(s.LastExit) + finality(s.LastExit)
	case engine.Stopping:
		if s.Err != nil {
			return api.ReasonStopping, "is being stopped; the last attempt: " + s.Err.Error()
		}
		return api.ReasonStopping, "is being stopped"
	default:
		return api.ReasonRemoved, "nothing of it is left on the node"
	}
}

func backOffMessage(s engine.State) (reason, message string) {
	again := "next attempt at " + s.RetryAt.UTC().Format(time.TimeOnly) + " UTC"
	if s.Err != nil {
		return failureReason(api.Runtime(s.Runtime), s.Err), s.Err.Error() + "; " + again
	}
	return api.ReasonCrashLoopBackOff, exitMessage(s.LastExit) + limitMessage(s.LastExit) + "; " + again
}

func endReason(e *runtime.Exit) string {
	switch {
	case e == nil:
		return api.ReasonFailed
	case e.StorageExceeded:
		return api.ReasonEphemeralStorageExceeded
	case e.OOMKilled:
		return api.ReasonOOMKilled
	case e.Code == 0:
		return api.ReasonCompleted
	case e.Code == codeNotFound:
		return api.ReasonCommandNotFound
	default:
		return api.ReasonFailed
	}
}

// finality says why a worker stays as it has ended.
func finality(e *runtime.Exit) string {
	if e != nil && e.StorageExceeded {
		return "; its files are removed, and no restartPolicy starts it again"
	}
	return "; its restartPolicy does not start it again"
}

// limitMessage mentions the limit on processes, if the container reached it.
func limitMessage(e *runtime.Exit) string {
	if e == nil || !e.PidsLimited {
		return ""
	}
	return "; it had reached its limit of processes and threads (stormcell.worker.pids.limit)"
}

// killed is SIGKILL, which the kernel sends.
const killed = 9

// Exit codes of the shell that starts the worker's command.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

func exitMessage(e *runtime.Exit) string {
	switch {
	case e == nil:
		return "ended, and nothing recorded how"
	case e.StorageExceeded:
		return fmt.Sprintf("was ended because it %s; have it write less, or create it again with a higher spec.resources.limits.ephemeralStorage",
			cmp.Or(e.Storage, "took up more ephemeral storage than it may"))
	case e.OOMKilled && e.Signal == killed:
		return fmt.Sprintf("was killed by the kernel for its memory limit (exit code %d); raise spec.resources.limits.memory or lower the heap", e.Code)
	case e.OOMKilled:
		return fmt.Sprintf("ended with exit code %d after the kernel had killed one of its processes for its memory limit; raise spec.resources.limits.memory or lower the heap", e.Code)
	case e.Signal != 0:
		return fmt.Sprintf("was ended by signal %d (exit code %d)", e.Signal, e.Code)
	case e.Code == codeNotFound:
		return "exit code 127: a program was not found; check whether spec.command[0] is in the image's PATH or in a bind mount, and read the container's log"
	case e.Code == codeNotExecutable:
		return "exit code 126: a program cannot be executed; check the mode of spec.command[0] in the image, and read the container's log"
	case e.Code == runtime.UnknownCode:
		return "ended unobserved, so its exit code is unknown: the node was rebooted or the container's monitor was killed"
	default:
		return fmt.Sprintf("ended with exit code %d", e.Code)
	}
}
