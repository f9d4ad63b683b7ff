package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store"
)

func failed(step engine.Step, err error) engine.State {
	return engine.State{Phase: engine.BackOff, Err: &engine.StepError{Step: step, Err: err}, RetryAt: time.Unix(60, 0)}
}

func ended(phase engine.Phase, e runtime.Exit) engine.State {
	return engine.State{Phase: phase, LastExit: &e, RetryAt: time.Unix(60, 0)}
}

func TestReadyTellsTheStory(t *testing.T) {
	for _, tc := range []struct {
		name    string
		state   engine.State
		status  metav1.ConditionStatus
		reason  string
		message string // a part of it
	}{
		{"waits", engine.State{Phase: engine.Waiting, Blocker: "a/b"}, "False", api.ReasonPortInUse, "StormWorker a/b"},
		{"localizing", engine.State{Phase: engine.Localizing, LocalizedBytes: 5e6, TotalBytes: 12e6}, "False", api.ReasonLocalizing, "5 of 12 MB"},
		{"starting", engine.State{Phase: engine.Starting}, "False", api.ReasonStarting, "being created"},
		{"running", engine.State{Phase: engine.Running, ContainerID: "1-x"}, "True", api.ReasonRunning, "container 1-x runs"},
		{"user refused", failed(engine.StepPrepare, hostuser.ErrRefused), "False", api.ReasonUserRefused, "00:01:00 UTC"},
		{"corrupt layer", failed(engine.StepLocalize, localizer.ErrCorrupt), "False", api.ReasonImageCorrupt, "next attempt"},
		{"disk full", failed(engine.StepLocalize, localizer.ErrDiskFull), "False", api.ReasonDiskFull, "next attempt"},
		{"runtime off", failed(engine.StepValidate, fmt.Errorf("%w: turn it on", runtime.ErrOff)), "False", api.ReasonRuntimeMissing, "runtime is off: turn it on; next attempt at"},
		{"runtime of a newer agent", failed(engine.StepValidate, fmt.Errorf("%w: update it", runtime.ErrUnknown)), "False", api.ReasonRuntimeMissing, "unknown runtime: update it; next attempt at"},
		{"store away", failed(engine.StepLocalize, fmt.Errorf("%w: hdfs://nn:8020/c", store.ErrUnavailable)), "False", api.ReasonStoreUnavailable, "hdfs://nn:8020/c; next attempt at 00:01:00 UTC"},
		{"identity lies", failed(engine.StepLocalize, store.ErrIdentityMismatch), "False", api.ReasonLayerInvalid, "next attempt"},
		{"layer gone", failed(engine.StepLocalize, store.ErrLayerMissing), "False", api.ReasonLayerMissing, "next attempt"},
		{"config gone", failed(engine.StepLocalize, store.ErrConfigMissing), "False", api.ReasonConfigMissing, "next attempt"},
		{"manifest gone", failed(engine.StepLocalize, store.ErrManifestMissing), "False", api.ReasonManifestMissing, "next attempt"},
		{
			"block lost", failed(engine.StepLocalize, fmt.Errorf("localize image a: read layers/x.sqsh at byte 0: %w", errors.New("block blk_7 has no replica left"))),
			"False", api.ReasonLocalizeFailed, "layers/x.sqsh at byte 0: block blk_7 has no replica left; next attempt",
		},
		{"other fetch", failed(engine.StepLocalize, errors.New("x")), "False", api.ReasonLocalizeFailed, "localize: x"},
		{"mount", failed(engine.StepMount, errors.New("x")), "False", api.ReasonMountFailed, "mount: x"},
		{"create", failed(engine.StepCreate, errors.New("x")), "False", api.ReasonStartFailed, "create: x"},
		{"crash loop", ended(engine.BackOff, runtime.Exit{Code: 3}), "False", api.ReasonCrashLoopBackOff, "exit code 3"},
		{"command not found", ended(engine.BackOff, runtime.Exit{Code: 127}), "False", api.ReasonCrashLoopBackOff, "spec.command[0]"},
		{"out of memory", ended(engine.Ended, runtime.Exit{Code: 137, Signal: 9, OOMKilled: true}), "False", api.ReasonOOMKilled, "limits.memory"},
		{"a child out of memory", ended(engine.Ended, runtime.Exit{Code: 5, OOMKilled: true}), "False", api.ReasonOOMKilled, "exit code 5 after the kernel had killed one of its processes"},
		{"out of processes", ended(engine.BackOff, runtime.Exit{Code: 1, PidsLimited: true}), "False", api.ReasonCrashLoopBackOff, "stormcell.worker.pids.limit"},
		{
			"out of storage", ended(engine.Ended, runtime.Exit{Code: 137, Signal: 9, StorageExceeded: true, Storage: "took up more than its 64 MiB (artifacts: 70 MiB)"}),
			"False", api.ReasonEphemeralStorageExceeded, "artifacts: 70 MiB); have it write less",
		},
		{
			"out of storage before a reboot", ended(engine.Ended, runtime.Exit{Code: 137, Signal: 9, StorageExceeded: true}),
			"False", api.ReasonEphemeralStorageExceeded, "no restartPolicy starts it again",
		},
		{"completed", ended(engine.Ended, runtime.Exit{}), "False", api.ReasonCompleted, "exit code 0"},
		{"failed", ended(engine.Ended, runtime.Exit{Code: 143, Signal: 15}), "False", api.ReasonFailed, "signal 15"},
		{"never found", ended(engine.Ended, runtime.Exit{Code: 127}), "False", api.ReasonCommandNotFound, "spec.command[0]"},
		{"unseen", ended(engine.Ended, runtime.Exit{Code: runtime.UnknownCode}), "False", api.ReasonFailed, "ended unobserved"},
		{"stopping", engine.State{Phase: engine.Stopping}, "False", api.ReasonStopping, "is being stopped"},
		{"cannot be stopped", engine.State{Phase: engine.Stopping, Err: errors.New("stuck")}, "False", api.ReasonStopping, "stuck"},
		{"removed", engine.State{Phase: engine.Removed}, "False", api.ReasonRemoved, "nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := statusOf(&api.StormWorker{}, tc.state, time.Unix(0, 0))
			c := meta.FindStatusCondition(s.Conditions, api.WorkerReady)
			if c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("Ready is %s/%s %q, want %s/%s with %q", c.Status, c.Reason, c.Message, tc.status, tc.reason, tc.message)
			}
			for _, other := range []string{api.WorkerLocalized, api.WorkerMounted, api.WorkerRunning} {
				if meta.FindStatusCondition(s.Conditions, other) == nil {
					t.Errorf("condition %s is missing", other)
				}
			}
		})
	}
}

func TestLayersThatNobodyCanVerifyAreTold(t *testing.T) {
	for unverified, want := range map[int]string{0: "verified", 2: "2 could not be verified"} {
		s := statusOf(&api.StormWorker{}, engine.State{Phase: engine.Running, Localized: true, Unverified: unverified}, time.Unix(0, 0))
		if c := meta.FindStatusCondition(s.Conditions, api.WorkerLocalized); !strings.Contains(c.Message, want) {
			t.Errorf("%d unverified: %q", unverified, c.Message)
		}
	}
}

func TestStatusIsReportedOnce(t *testing.T) {
	w := &api.StormWorker{ObjectMeta: metav1.ObjectMeta{Generation: 4}}
	w.Status.NodeName = "n1"
	w.Status.Image = &api.WorkerImage{Tag: "t"}
	meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{Type: api.WorkerAdmitted, Status: "True", Reason: api.ReasonAdmitted})
	state := engine.State{
		Phase: engine.Running, ContainerID: "1-x", PID: 7, StartedAt: time.Unix(99, 5), Localized: true, Mounted: true,
		LocalizedBytes: 5, TotalBytes: 5, LastExit: &runtime.Exit{Code: 1, At: time.Unix(98, 7)}, Restarts: 1,
	}
	status := statusOf(w, state, time.Unix(100, 0))
	if reported(w, status) {
		t.Fatal("a new status counts as reported")
	}
	// What the API server would make of the apply.
	said := status.DeepCopy()
	said.NodeName, said.Image = w.Status.NodeName, w.Status.Image
	said.Conditions = append(said.Conditions, w.Status.Conditions...)
	w.Status = *said
	if again := statusOf(w, state, time.Unix(200, 0)); !reported(w, again) {
		t.Errorf("an unchanged status counts as new:\n%+v\n%+v", w.Status, again)
	}
	state.Phase, state.PID = engine.Stopping, 0
	if reported(w, statusOf(w, state, time.Unix(300, 0))) {
		t.Error("a change counts as reported")
	}
}

func TestRestartsNeverFall(t *testing.T) {
	w := &api.StormWorker{}
	w.Status.RestartCount = 5
	w.Status.LastExit = &api.WorkerExit{ExitCode: 3}
	s := statusOf(w, engine.State{Phase: engine.Localizing, Restarts: 0}, time.Now())
	if s.RestartCount != 5 || s.LastExit == nil {
		t.Errorf("restarts %d, last exit %v: the past is forgotten", s.RestartCount, s.LastExit)
	}
}

func TestPastOf(t *testing.T) {
	at := metav1.NewTime(time.Unix(50, 0))
	for _, tc := range []struct {
		name   string
		status api.StormWorkerStatus
		want   engine.Past
	}{
		{"never ran", api.StormWorkerStatus{}, engine.Past{}},
		{"runs", api.StormWorkerStatus{StartedAt: &at, RestartCount: 2}, engine.Past{Launched: 3, RunningSince: at.Time}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := pastOf(&api.StormWorker{Status: tc.status}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	ended := pastOf(&api.StormWorker{Status: api.StormWorkerStatus{LastExit: &api.WorkerExit{ExitCode: 137, Signal: 9, OOMKilled: true, EphemeralStorageExceeded: true, FinishedAt: at}}})
	if ended.Launched != 1 || !ended.RunningSince.IsZero() || *ended.LastExit != (runtime.Exit{Code: 137, Signal: 9, OOMKilled: true, StorageExceeded: true, At: at.Time}) {
		t.Errorf("ended: %+v %+v", ended, ended.LastExit)
	}
}

func TestAdmittedForThisGeneration(t *testing.T) {
	w := &api.StormWorker{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	w.Status.Image = &api.WorkerImage{Tag: "t", ManifestDigest: "d"}
	set := func(status metav1.ConditionStatus, generation int64) {
		w.Status.Conditions = []metav1.Condition{{Type: api.WorkerAdmitted, Status: status, ObservedGeneration: generation}}
	}
	if admitted(w) {
		t.Error("admitted without a condition")
	}
	if set("True", 1); admitted(w) {
		t.Error("admitted for another generation")
	}
	if set("False", 2); admitted(w) {
		t.Error("admitted though refused")
	}
	if set("True", 2); !admitted(w) {
		t.Error("not admitted")
	}
	if w.Status.Image = nil; admitted(w) {
		t.Error("admitted without an image")
	}
}
