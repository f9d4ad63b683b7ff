package v1alpha1

// Condition types of a StormImage.
const (
	// ImageAllowed: the cluster's allowlist permits the tag.
	ImageAllowed = "Allowed"
	// ImageResolved: the store has the image, whole as far as names and
	// digests of documents tell.
	ImageResolved = "Resolved"
	// ImageReady: workers can use the image.
	ImageReady = "Ready"
	// ImagePrefetched: every node that spec.prefetch chooses has the image.
	// There is none without spec.prefetch.
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

// Reasons why a node has not got an image ahead of time, in a StormNode; those
// of a worker's localization are the others.
const (
	// ReasonEvicted: a worker needed the room.
	ReasonEvicted = "Evicted"
)

// Condition types of a StormWorker. The manager writes the first two, the
// node-agent the next three. Ready is the manager's until the worker is bound
// to a node and its agent has spoken, and again when the node is lost.
const (
	WorkerAdmitted  = "Admitted"
	WorkerScheduled = "Scheduled"
	WorkerLocalized = "Localized"
	WorkerMounted   = "Mounted"
	WorkerRunning   = "Running"
	WorkerReady     = "Ready"
)

// Reasons of a StormWorker's conditions; the reason of Ready is what
// "kubectl get sw" shows as STATUS.
const (
	ReasonAdmitted         = "Admitted"
	ReasonImageNotAllowed  = "ImageNotAllowed"
	ReasonNoImage          = "NoImage"
	ReasonImageNotResolved = "ImageNotResolved"
	ReasonImagePending     = "ImagePending"

	ReasonScheduled    = "Scheduled"
	ReasonNodeNotFound = "NodeNotFound"
	ReasonNoNodeFits   = "NoNodeFits"
	ReasonPortInUse    = "PortInUse"
	ReasonNodeLost     = "NodeLost"
	ReasonNotAdmitted  = "NotAdmitted"

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
	ReasonCrashLoopBackOff  = "CrashLoopBackOff"
	ReasonStopping          = "Stopping"
	// ReasonRemoved says that nothing of the worker is left on its node; the
	// manager then lets the object go.
	ReasonRemoved = "Removed"
)

// ProfileComplete is the condition of a StormProfile: it has ended, well or not.
const ProfileComplete = "Complete"

// Reasons of a StormProfile's condition Complete, beside ReasonFailed: the profile has
// ended with that or with ReasonSucceeded.
const (
	// ReasonPending: its node has not begun yet.
	ReasonPending = "Pending"
	// ReasonProfiling: the profiler script runs.
	ReasonProfiling = "Profiling"
	// ReasonRecording: a flight recording runs, and is stopped when its time is over.
	ReasonRecording = "Recording"
	ReasonSucceeded = "Succeeded"
)
