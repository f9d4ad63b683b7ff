package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProfileAction is what is done to a worker, after the buttons of Storm's UI.
// +kubebuilder:validation:Enum=JStack;HeapDump;FlightRecordStart;FlightRecordDump;FlightRecordStop;Restart
type ProfileAction string

// The actions, with the files that they leave in the worker's artifacts directory.
const (
	// ProfileJStack writes the stacks of all threads: jstack-<pid>-<time>.txt.
	ProfileJStack ProfileAction = "JStack"
	// ProfileHeapDump writes the heap: recording-<pid>-<time>.bin.
	ProfileHeapDump ProfileAction = "HeapDump"
	// ProfileFlightRecordStart starts a flight recording, unless there is one.
	// With spec.duration it is stopped after that time.
	ProfileFlightRecordStart ProfileAction = "FlightRecordStart"
	// ProfileFlightRecordDump writes what has been recorded so far:
	// recording-<pid>-<number>-<time>.jfr.
	ProfileFlightRecordDump ProfileAction = "FlightRecordDump"
	// ProfileFlightRecordStop does the same and ends the recording.
	ProfileFlightRecordStop ProfileAction = "FlightRecordStop"
	// ProfileRestart kills the worker's processes, and leaves the rest to its
	// restart policy.
	ProfileRestart ProfileAction = "Restart"
)

// StormProfileSpec is one action on one worker.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a profile cannot be changed; make another"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || self.action == 'FlightRecordStart'",fieldPath=".duration",message="is for action FlightRecordStart alone"
type StormProfileSpec struct {
	// workerName is the StormWorker, in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	WorkerName string `json:"workerName"`

	// action is what is done.
	// +required
	Action ProfileAction `json:"action"`

	// duration is the time after which a flight recording is written and
	// stopped, from 1s to 24h. Without it, a recording goes on until a profile
	// with action FlightRecordStop.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be from 1s to 24h"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// StormProfileStatus is what came of a profile. The manager writes nodeName and
// workerUID, or why there is nothing to profile; the node-agent all else.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || (has(self.nodeName) && self.nodeName == oldSelf.nodeName)",fieldPath=".nodeName",message="cannot be changed"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.workerUID) || (has(self.workerUID) && self.workerUID == oldSelf.workerUID)",fieldPath=".workerUID",message="cannot be changed"
type StormProfileStatus struct {
	// nodeName is the node of the worker.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	NodeName string `json:"nodeName,omitempty"`
	// workerUID is that of the worker: one of the same name that came later is
	// another.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	WorkerUID string `json:"workerUID,omitempty"`

	// startedAt is when the action began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// finishedAt is when it ended, well or not.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// files are what it has written on the node, as absolute paths.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=4096
	// +optional
	Files []string `json:"files,omitempty"`
	// output is the end of what the profiler script has printed.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Output string `json:"output,omitempty"`

	// conditions are Complete alone: its reason is Pending, Profiling or Recording
	// until it is true, and then Succeeded or Failed.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StormProfile looks into the Java process of a StormWorker, once: it dumps
// threads or heap, or makes a flight recording. It is removed a day after its end.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=stormprof
// +kubebuilder:selectablefield:JSONPath=`.status.nodeName`
// +kubebuilder:selectablefield:JSONPath=`.spec.workerName`
// +kubebuilder:printcolumn:name="Worker",type=string,JSONPath=`.spec.workerName`
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].reason`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.nodeName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Complete")].message`
type StormProfile struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what shall be done.
	// +required
	Spec StormProfileSpec `json:"spec"`
	// status is what came of it.
	// +optional
	Status StormProfileStatus `json:"status,omitzero"`
}

// StormProfileList is a list of StormProfiles.
//
// +kubebuilder:object:root=true
type StormProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StormProfile `json:"items"`
}
