package v1alpha1

// Condition types of a StormImage.
const (
	// ImageAllowed: the cluster's allowlist permits the tag.
	ImageAllowed = "Allowed"
	// ImageResolved: the store has the image, complete as far as names and
	// digests of documents show.
	ImageResolved = "Resolved"
	// ImageReady: workers can use the image.
	ImageReady = "Ready"
	// ImagePrefetched: every node that spec.prefetch selects has the image.
	// The condition is absent without spec.prefetch.
	ImagePrefetched = "Prefetched"
)

// Reasons of a StormImage's conditions.
const (
	ReasonAllowed         = "Allowed"
	ReasonNotAllowed      = "NotAllowed"
	ReasonMalformedName   = "MalformedName"
	ReasonNoImagesAllowed = "NoImagesAllowed"

	ReasonResolved         = "Resolved"
	ReasonTagNotFound      = "TagNotFound"
	ReasonManifestMissing  = "ManifestMissing"
	ReasonManifestInvalid  = "ManifestInvalid"
	ReasonConfigMissing    = "ConfigMissing"
	ReasonLayerMissing     = "LayerMissing"
	ReasonLayerInvalid     = "LayerInvalid"
	ReasonStoreUnavailable = "StoreUnavailable"
	ReasonStoreUnreadable  = "StoreUnreadable"

	ReasonPrefetched      = "Prefetched"
	ReasonPrefetching     = "Prefetching"
	ReasonPrefetchFailed  = "PrefetchFailed"
	ReasonNoNodeSelected  = "NoNodeSelected"
	ReasonSelectorInvalid = "SelectorInvalid"
)

// Reasons of a failed prefetch in a StormNode, beside the reasons of a worker's
// localization.
const (
	// ReasonEvicted: a worker needed the space.
	ReasonEvicted = "Evicted"
)

// NodeListening is the condition of a StormNode: its agent listens on the ports
// that it was given.
const NodeListening = "Listening"

// Reasons of a StormNode's condition Listening.
const (
	ReasonListening = "Listening"
	// ReasonPortTaken: another program has a port of the agent's, such as a worker
	// that took it while the agent was away. The message says which.
	ReasonPortTaken = "PortTaken"
)

// Condition types of a StormWorker. The manager writes the first two, the
// node-agent the next three. The manager writes Ready until the worker is bound
// to a node whose agent has reported on it, and again when the node is lost.
const (
	WorkerAdmitted  = "Admitted"
	WorkerScheduled = "Scheduled"
	WorkerLocalized = "Localized"
	WorkerMounted   = "Mounted"
	WorkerRunning   = "Running"
	WorkerReady     = "Ready"
)

// Reasons of a StormWorker's conditions. "kubectl get sw" shows the reason of
// Ready as STATUS.
const (
	ReasonAdmitted         = "Admitted"
	ReasonImageNotAllowed  = "ImageNotAllowed"
	ReasonNoImage          = "NoImage"
	ReasonImageNotResolved = "ImageNotResolved"
	ReasonImagePending     = "ImagePending"
	// ReasonImageNameNotFull: the worker's runtime pulls images by full names, with
	// registry and tag.
	ReasonImageNameNotFull = "ImageNameNotFull"

	ReasonScheduled    = "Scheduled"
	ReasonNodeNotFound = "NodeNotFound"
	ReasonNoNodeFits   = "NoNodeFits"
	ReasonPortInUse    = "PortInUse"
	// ReasonWorkerIDInUse: another worker that has a node has the same id.
	ReasonWorkerIDInUse = "WorkerIDInUse"
	// ReasonTopologyInUse: workers of another namespace have the topology's id.
	ReasonTopologyInUse = "TopologyInUse"
	// ReasonRuntimeMissing: the node does not have the worker's runtime, or has not
	// turned it on.
	ReasonRuntimeMissing = "RuntimeMissing"
	ReasonNodeLost       = "NodeLost"
	ReasonNotAdmitted    = "NotAdmitted"

	ReasonLocalizing        = "Localizing"
	ReasonLocalized         = "Localized"
	ReasonLocalizeFailed    = "LocalizeFailed"
	ReasonImageCorrupt      = "ImageCorrupt"
	ReasonImagePullFailed   = "ImagePullFailed"
	ReasonDockerUnavailable = "DockerUnavailable"
	ReasonDiskFull          = "DiskFull"
	ReasonMounted           = "Mounted"
	ReasonMountFailed       = "MountFailed"
	ReasonUserRefused       = "UserRefused"
	ReasonGroupUnknown      = "GroupUnknown"
	ReasonBindSourceMissing = "BindSourceMissing"
	ReasonStarting          = "Starting"
	ReasonStartFailed       = "StartFailed"
	ReasonCommandNotFound   = "CommandNotFound"
	ReasonRunning           = "Running"
	ReasonCompleted         = "Completed"
	ReasonFailed            = "Failed"
	ReasonOOMKilled         = "OOMKilled"
	// ReasonEphemeralStorageExceeded: it took up more of the node's disks than it may.
	// It was ended, its files were removed, and no restart policy starts it again.
	ReasonEphemeralStorageExceeded = "EphemeralStorageExceeded"
	ReasonCrashLoopBackOff         = "CrashLoopBackOff"
	ReasonStopping                 = "Stopping"
	// ReasonRemoved: nothing of the worker is left on its node. The manager
	// then removes the finalizer.
	ReasonRemoved = "Removed"
)

// ProfileComplete is the condition of a StormProfile: it has succeeded or failed.
const ProfileComplete = "Complete"

// Reasons of a StormProfile's condition Complete, beside ReasonFailed. A complete
// profile has ReasonSucceeded or ReasonFailed.
const (
	// ReasonPending: the node has not started it yet.
	ReasonPending = "Pending"
	// ReasonProfiling: the profiler script runs.
	ReasonProfiling = "Profiling"
	// ReasonRecording: a flight recording runs until its duration has passed.
	ReasonRecording = "Recording"
	ReasonSucceeded = "Succeeded"
)
