package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Runtime names the program that runs a worker's container.
// +kubebuilder:validation:Enum=Runc;Docker
type Runtime string

// The runtimes.
const (
	// RuntimeRunc mounts the image's squashfs layers and runs runc on them.
	RuntimeRunc Runtime = "Runc"
	// RuntimeDocker uses the node's Docker, and an image that Docker has or pulls.
	RuntimeDocker Runtime = "Docker"
)

// PullsImages reports whether the runtime pulls images itself, by their tags, from a
// registry. The images of other runtimes come from the image store.
func (r Runtime) PullsImages() bool { return r == RuntimeDocker }

// ReasonUnavailable returns the reason of a worker whose runtime does not answer on
// its node, such as DockerUnavailable.
func (r Runtime) ReasonUnavailable() string { return string(r) + "Unavailable" }

// RestartPolicy says when a worker that has ended is restarted.
// +kubebuilder:validation:Enum=Always;OnFailure;Never
type RestartPolicy string

// The restart policies.
const (
	// RestartAlways starts it again whatever its exit code was.
	RestartAlways RestartPolicy = "Always"
	// RestartOnFailure starts it again unless its exit code was 0.
	RestartOnFailure RestartPolicy = "OnFailure"
	// RestartNever leaves it ended.
	RestartNever RestartPolicy = "Never"
)

// EnvVar is one variable of a worker's environment.
type EnvVar struct {
	// name is the variable's name: letters, digits and '_', no digit first.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="must be a shell variable name: letters, digits and '_', not beginning with a digit"
	// +required
	Name string `json:"name"`
	// value is the variable's value, without any expansion.
	// +kubebuilder:validation:MaxLength=32768
	// +kubebuilder:validation:XValidation:rule="!self.contains('\\u0000')",message="must not hold a NUL byte"
	// +optional
	Value string `json:"value,omitempty"`
}

// WorkerLimits are the limits of a worker.
type WorkerLimits struct {
	// cpu is the CPU limit, such as "1500m" or "2". At least 10m: the kernel
	// has no smaller quota. Absent means no limit.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('10m')) >= 0",message="must be at least 10m; omit it for no limit"
	// +optional
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// memory is the memory limit, such as "2Gi". The kernel enforces it where
	// storm.cgroup.memory.enforcement.enable is true. Absent means no limit.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('4Mi')) >= 0",message="must be at least 4Mi; omit it for no limit"
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
	// ephemeralStorage is the limit of what the worker takes up of its node's disks,
	// such as "20Gi": its directories, its artifacts, its logs, and what it holds open of
	// deleted files. A worker beyond it is ended, with the reason
	// EphemeralStorageExceeded. Absent means
	// stormcell.worker.ephemeral.storage.default.bytes of its node, whose
	// stormcell.worker.ephemeral.storage.max.bytes is the most that a worker can have.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="must be at least 1Mi; omit it for the node's default"
	// +optional
	EphemeralStorage *resource.Quantity `json:"ephemeralStorage,omitempty"`
}

// WorkerResources are the compute resources of a worker.
type WorkerResources struct {
	// limits is the most that the worker may use.
	// +optional
	Limits WorkerLimits `json:"limits,omitzero"`
}

// TolerationOperator says how a toleration compares a taint's value.
// +kubebuilder:validation:Enum=Exists;Equal
type TolerationOperator string

// The operators of tolerations.
const (
	// TolerationExists matches every value.
	TolerationExists TolerationOperator = "Exists"
	// TolerationEqual matches the toleration's own value alone.
	TolerationEqual TolerationOperator = "Equal"
)

// Toleration matches taints of nodes, as a pod's toleration does.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) || self.operator == 'Exists'",message="must have operator Exists if it has no key"
type Toleration struct {
	// key is the taint's key; absent for every taint.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +optional
	Key string `json:"key,omitempty"`
	// operator is Exists, which matches any value of the taint, or Equal.
	// +kubebuilder:default=Equal
	// +optional
	Operator TolerationOperator `json:"operator,omitempty"`
	// value is compared with the taint's value if operator is Equal.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Value string `json:"value,omitempty"`
	// effect is the taint's effect; absent for every effect.
	// +kubebuilder:validation:Enum=NoSchedule;NoExecute
	// +optional
	Effect string `json:"effect,omitempty"`
}

// StormWorkerSpec describes one worker. Only restartPolicy and
// terminationGracePeriodSeconds can be changed after creation.
//
// +kubebuilder:validation:XValidation:rule="self.topologyID == oldSelf.topologyID",fieldPath=".topologyID",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="self.port == oldSelf.port",fieldPath=".port",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.workerID) == has(oldSelf.workerID) && (!has(self.workerID) || self.workerID == oldSelf.workerID)",fieldPath=".workerID",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.nodeName) == has(oldSelf.nodeName) && (!has(self.nodeName) || self.nodeName == oldSelf.nodeName)",fieldPath=".nodeName",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.nodeSelector) == has(oldSelf.nodeSelector) && (!has(self.nodeSelector) || self.nodeSelector == oldSelf.nodeSelector)",fieldPath=".nodeSelector",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.tolerations) == has(oldSelf.tolerations) && (!has(self.tolerations) || self.tolerations == oldSelf.tolerations)",fieldPath=".tolerations",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="self.user == oldSelf.user",fieldPath=".user",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.image) == has(oldSelf.image) && (!has(self.image) || self.image == oldSelf.image)",fieldPath=".image",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.runtime) == has(oldSelf.runtime) && (!has(self.runtime) || self.runtime == oldSelf.runtime)",fieldPath=".runtime",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="self.command == oldSelf.command",fieldPath=".command",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.env) == has(oldSelf.env) && (!has(self.env) || self.env == oldSelf.env)",fieldPath=".env",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.resources) == has(oldSelf.resources) && (!has(self.resources) || self.resources == oldSelf.resources)",fieldPath=".resources",message="cannot be changed; delete the worker and create another"
// +kubebuilder:validation:XValidation:rule="has(self.numaZone) == has(oldSelf.numaZone) && (!has(self.numaZone) || self.numaZone == oldSelf.numaZone)",fieldPath=".numaZone",message="cannot be changed; delete the worker and create another"
type StormWorkerSpec struct {
	// topologyID is Storm's id of the topology, such as "wc1-2-1608581491". It
	// belongs to one namespace: no worker is bound while workers of another
	// namespace have it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*$')",message="must be a topology id: letters, digits, '.', '_' and '-', not beginning with '.'"
	// +required
	TopologyID string `json:"topologyID"`

	// port is the worker's slot on its node; no two workers of a node share one.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port"`

	// workerID is Storm's id of the worker, a UUID in lower case. The default is
	// the object's own UID. No worker is bound while another one has its id.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
	// +optional
	WorkerID string `json:"workerID,omitempty"`

	// nodeName binds the worker to one node, regardless of labels and taints, as
	// it does with pods. Without it the manager chooses a node.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be a node name: a DNS name in lower case"
	// +optional
	NodeName string `json:"nodeName,omitempty"`

	// nodeSelector has the labels that a node must have for the manager to choose it.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 317 && size(self[k]) <= 63)",message="must be labels: keys of at most 317 characters, values of at most 63"
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations allow the manager to choose a node with matching taints.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// user is the host user that the worker runs as; never root.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_.-]*$')",message="must be a user name: letters, digits, '_', '.' and '-', beginning with a letter or '_'"
	// +kubebuilder:validation:XValidation:rule="self != 'root'",message="must not be root"
	// +required
	User string `json:"user"`

	// image is the tag of the image. The default is the cluster's default image.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(?:[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?::[0-9]+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$')",message="must be an image name: [registry[:port]/]repository[:tag], repository in lower case, no digest, each part beginning and ending with a letter or digit"
	// +optional
	Image string `json:"image,omitempty"`

	// runtime runs the container. The default is the cluster's, which
	// storm.resource.isolation.plugin sets.
	// +optional
	Runtime Runtime `json:"runtime,omitempty"`

	// command is the worker's command line: the program, looked up in the
	// image's PATH, and its arguments, without any expansion. It has 64 KiB at most.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MaxLength=32768
	// +kubebuilder:validation:XValidation:rule="size(self[0]) > 0",message="must name a program"
	// +kubebuilder:validation:XValidation:rule="self.map(w, size(bytes(w))).sum() <= 65536",message="must have 64 KiB at most"
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('\\u0000')",message="must not hold a NUL byte"
	// +listType=atomic
	// +required
	Command []string `json:"command"`

	// env is added to the image's environment. It has 64 KiB at most, with the names.
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:XValidation:rule="self.map(e, size(e.name) + (has(e.value) ? size(bytes(e.value)) : 0)).sum() <= 65536",message="must have 64 KiB at most"
	// +listType=map
	// +listMapKey=name
	// +optional
	Env []EnvVar `json:"env,omitempty"`

	// resources are the limits of the worker.
	// +optional
	Resources WorkerResources `json:"resources,omitzero"`

	// numaZone pins the worker to a zone of supervisor.numa.meta.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1023
	// +optional
	NUMAZone *int32 `json:"numaZone,omitempty"`

	// restartPolicy says when the worker is restarted after it has ended.
	// +kubebuilder:default=Always
	// +optional
	RestartPolicy RestartPolicy `json:"restartPolicy,omitempty"`

	// terminationGracePeriodSeconds is the time between SIGTERM and SIGKILL.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	// +optional
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// WorkerImage is the image that a worker is pinned to.
type WorkerImage struct {
	// tag is the image's name.
	// +kubebuilder:validation:MaxLength=512
	// +required
	Tag string `json:"tag"`
	// manifestDigest is the manifest that the tag named when the worker was
	// admitted. It is absent with runtime Docker, where Docker resolves the tag.
	// +kubebuilder:validation:MaxLength=71
	// +optional
	ManifestDigest string `json:"manifestDigest,omitempty"`
}

// WorkerExit is how a container ended.
type WorkerExit struct {
	// exitCode is the exit code; 128 plus the number of the signal that ended the
	// container; -1 if the end was not observed.
	// +required
	ExitCode int32 `json:"exitCode"`
	// signal is the number of the signal that ended the container, if one did.
	// +optional
	Signal int32 `json:"signal,omitempty"`
	// oomKilled is true if the kernel killed it, or one of its processes, for the
	// memory limit.
	// +optional
	OOMKilled bool `json:"oomKilled,omitempty"`
	// ephemeralStorageExceeded is true if it was ended because it took up more
	// ephemeral storage than it may. Then it is not started again.
	// +optional
	EphemeralStorageExceeded bool `json:"ephemeralStorageExceeded,omitempty"`
	// finishedAt is when the container ended.
	// +required
	FinishedAt metav1.Time `json:"finishedAt"`
}

// WorkerLocalization is the progress of fetching the image.
type WorkerLocalization struct {
	// bytes is how much of the image's layers is on the node.
	// +required
	Bytes int64 `json:"bytes"`
	// totalBytes is the size of the image's layers.
	// +required
	TotalBytes int64 `json:"totalBytes"`
}

// StormWorkerStatus is the current state of a worker. The manager writes nodeName,
// runtime, image and the conditions Admitted and Scheduled; the node-agent writes the
// rest. A bound worker never changes its node, runtime or image.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || size(oldSelf.nodeName) == 0 || (has(self.nodeName) && self.nodeName == oldSelf.nodeName)",fieldPath=".nodeName",message="a worker stays bound to its node; delete it and create another"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || size(oldSelf.nodeName) == 0 || !has(oldSelf.image) || (has(self.image) && self.image == oldSelf.image)",fieldPath=".image",message="a worker that is bound stays pinned to its image; delete it and create another"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || size(oldSelf.nodeName) == 0 || !has(oldSelf.runtime) || (has(self.runtime) && self.runtime == oldSelf.runtime)",fieldPath=".runtime",message="a worker that is bound keeps its runtime; delete it and create another"
type StormWorkerStatus struct {
	// nodeName is the node that the worker is bound to.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	NodeName string `json:"nodeName,omitempty"`
	// runtime is what runs the container. Absent means Runc.
	// +optional
	Runtime Runtime `json:"runtime,omitempty"`
	// image is the image that the worker is pinned to.
	// +optional
	Image *WorkerImage `json:"image,omitempty"`

	// containerID is "<port>-<workerID>".
	// +kubebuilder:validation:MaxLength=42
	// +optional
	ContainerID string `json:"containerID,omitempty"`
	// pid is the worker's process id on its node, while it runs.
	// +optional
	PID int64 `json:"pid,omitempty"`
	// startedAt is when the current process was started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// restartCount is how often the worker was restarted.
	// +optional
	RestartCount int32 `json:"restartCount,omitempty"`
	// lastExit is how the container last ended.
	// +optional
	LastExit *WorkerExit `json:"lastExit,omitempty"`
	// localization is the progress of fetching the image.
	// +optional
	Localization *WorkerLocalization `json:"localization,omitempty"`

	// conditions are Admitted and Scheduled by the manager, Localized, Mounted
	// and Running by the node-agent, and Ready, whose reason sums them up.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, size(c.message) <= 1024)",message="messages have 1024 characters at most"
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StormWorker is one Storm worker process in one container on one node.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=sw
// +kubebuilder:selectablefield:JSONPath=`.status.nodeName`
// +kubebuilder:selectablefield:JSONPath=`.spec.topologyID`
// +kubebuilder:printcolumn:name="Topology",type=string,JSONPath=`.spec.topologyID`
// +kubebuilder:printcolumn:name="Port",type=integer,JSONPath=`.spec.port`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.nodeName`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.image.tag`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Restarts",type=integer,JSONPath=`.status.restartCount`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Container",type=string,priority=1,JSONPath=`.status.containerID`
// +kubebuilder:printcolumn:name="PID",type=integer,priority=1,JSONPath=`.status.pid`
// +kubebuilder:printcolumn:name="Runtime",type=string,priority=1,JSONPath=`.status.runtime`
// +kubebuilder:printcolumn:name="User",type=string,priority=1,JSONPath=`.spec.user`
// +kubebuilder:printcolumn:name="Digest",type=string,priority=1,JSONPath=`.status.image.manifestDigest`
type StormWorker struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is the desired state of the worker.
	// +required
	Spec StormWorkerSpec `json:"spec"`
	// status is the current state of the worker.
	// +optional
	Status StormWorkerStatus `json:"status,omitzero"`
}

// StormWorkerList is a list of StormWorkers.
//
// +kubebuilder:object:root=true
type StormWorkerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StormWorker `json:"items"`
}
