package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProfileAction is what a profile does to a worker, as the buttons of Storm's UI do.
// +kubebuilder:validation:Enum=JStack;HeapDump;FlightRecordStart;FlightRecordDump;FlightRecordStop;Restart
type ProfileAction string

// The actions, with the files that they write to the worker's artifacts directory.
const (
	// ProfileJStack writes the stacks of all threads: jstack-<pid>-<time>.txt.
	ProfileJStack ProfileAction = "JStack"
	// ProfileHeapDump writes the heap: recording-<pid>-<time>.bin.
	ProfileHeapDump ProfileAction = "HeapDump"
	// ProfileFlightRecordStart starts a flight recording, unless one is running.
	// With spec.duration, the recording is stopped after that time.
	ProfileFlightRecordStart ProfileAction = "FlightRecordStart"
	// ProfileFlightRecordDump writes what has been recorded so far:
	// recording-<pid>-<number>-<time>.jfr.
	ProfileFlightRecordDump ProfileAction = "FlightRecordDump"
	// ProfileFlightRecordStop does the same and ends the recording.
	ProfileFlightRecordStop ProfileAction = "FlightRecordStop"
	// ProfileRestart kills the worker's processes. The restart policy decides what
	// happens then.
	ProfileRestart ProfileAction = "Restart"
)

// StormProfileSpec is one action on one worker.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a profile cannot be changed; create another"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || self.action == 'FlightRecordStart'",fieldPath=".duration",message="is only for action FlightRecordStart"
type StormProfileSpec struct {
	// workerName is the name of the StormWorker, in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	WorkerName string `json:"workerName"`

	// action is what to do.
	// +required
	Action ProfileAction `json:"action"`

	// duration is the time after which a flight recording is written and
	// stopped, from 1s to 24h. Without it, a recording continues until a profile
	// with action FlightRecordStop.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be from 1s to 24h"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// StormProfileStatus is the outcome of a profile. The manager writes nodeName and
// workerUID, or why there is nothing to profile; the node-agent writes the rest.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || (has(self.nodeName) && self.nodeName == oldSelf.nodeName)",fieldPath=".nodeName",message="cannot be changed"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.workerUID) || (has(self.workerUID) && self.workerUID == oldSelf.workerUID)",fieldPath=".workerUID",message="cannot be changed"
type StormProfileStatus struct {
	// nodeName is the node of the worker.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	NodeName string `json:"nodeName,omitempty"`
	// workerUID is the UID of the worker: a later worker of the same name is not
	// profiled.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	WorkerUID string `json:"workerUID,omitempty"`

	// startedAt is when the action started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// finishedAt is when the action ended, with success or failure.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// files are the files that it wrote on the node, as absolute paths.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=4096
	// +optional
	Files []string `json:"files,omitempty"`
	// output is the end of the output of the profiler script.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Output string `json:"output,omitempty"`

	// conditions has only Complete. Its reason is Pending, Profiling or Recording
	// until it is true, and then Succeeded or Failed.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, size(c.message) <= 1024)",message="messages have 1024 characters at most"
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StormProfile profiles the Java process of a StormWorker once: it dumps threads or
// heap, or makes a flight recording. It is removed a day after its end.
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
	// spec is the action and its worker.
	// +required
	Spec StormProfileSpec `json:"spec"`
	// status is the outcome.
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
