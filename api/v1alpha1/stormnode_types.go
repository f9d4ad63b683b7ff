package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxStormNodeImages is how many images a node can prefetch. It keeps the object
// well below the limit of etcd, even with the longest messages.
const MaxStormNodeImages = 200

// StormNodeSpec is what the manager wants of a node.
type StormNodeSpec struct {
	// images are the images that the node prefetches: those of every StormImage
	// with a spec.prefetch that selects the node.
	// +listType=map
	// +listMapKey=tag
	// +kubebuilder:validation:MaxItems=200
	// +optional
	Images []StormNodeImage `json:"images,omitempty"`
	// managers is how the node's agent knows the managers; absent until they have a
	// certificate. Until then the agent lets nobody in.
	// +optional
	Managers *StormNodeManagers `json:"managers,omitempty"`
}

// StormNodeManagers is how an agent knows the managers.
type StormNodeManagers struct {
	// caBundle has the certificates of the managers, as PEM, in base64: the one
	// that they share, and while it is replaced also the one before. The agent
	// accepts a connection only from who has one of them.
	// +kubebuilder:validation:MaxLength=16384
	// +required
	CABundle []byte `json:"caBundle"`
}

// StormNodeImage is an image for a node to prefetch, pinned.
type StormNodeImage struct {
	// tag is the image's name in the store's tag file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Tag string `json:"tag"`
	// manifestDigest is the manifest that the tag names now, as
	// sha256:<64 hex digits>. A tag that moves in the store changes it.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	// +kubebuilder:validation:MaxLength=71
	// +required
	ManifestDigest string `json:"manifestDigest"`
}

// PrefetchState is the progress of a node with an image.
// +kubebuilder:validation:Enum=Pending;Fetching;Ready;Failed
type PrefetchState string

const (
	// PrefetchPending means that the image waits in the node's queue.
	PrefetchPending PrefetchState = "Pending"
	// PrefetchFetching means that the node fetches the image's layers.
	PrefetchFetching PrefetchState = "Fetching"
	// PrefetchReady means that every layer is in the node's cache.
	PrefetchReady PrefetchState = "Ready"
	// PrefetchFailed means that the image is not in the cache; reason and message say why,
	// and when the next attempt is.
	PrefetchFailed PrefetchState = "Failed"
)

// StormNodeImageStatus is the progress of a node with one image.
type StormNodeImageStatus struct {
	// tag is the tag of the image in spec.images.
	// +kubebuilder:validation:MaxLength=255
	// +required
	Tag string `json:"tag"`
	// manifestDigest is the manifest that this status is about. While it differs
	// from the one in spec.images, the node has not seen yet that the tag moved.
	// +kubebuilder:validation:MaxLength=71
	// +required
	ManifestDigest string `json:"manifestDigest"`
	// state is Pending, Fetching, Ready or Failed.
	// +required
	State PrefetchState `json:"state"`
	// bytes is how many bytes of the image's layers the node has.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// totalBytes is the size of all layers; absent until it is known.
	// +optional
	TotalBytes int64 `json:"totalBytes,omitempty"`
	// reason is why the state is Failed, in one word.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Reason string `json:"reason,omitempty"`
	// message is why the state is Failed, and what to do, in a sentence.
	// +kubebuilder:validation:MaxLength=1100
	// +optional
	Message string `json:"message,omitempty"`
}

// StormNodeAgent is how the manager reaches the agent of a node, at the address in
// the Node object.
type StormNodeAgent struct {
	// port is the port on which the agent listens for the manager.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port"`
	// caBundle is the certificate that the agent created for itself when it
	// started, as PEM, in base64. The manager accepts no other.
	// +kubebuilder:validation:MaxLength=8192
	// +required
	CABundle []byte `json:"caBundle"`
}

// StormNodeStatus is what the node's agent reports.
type StormNodeStatus struct {
	// conditions are what is so of the agent: Listening.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// agent is how the manager reaches the node's agent; absent if the agent does
	// not listen.
	// +optional
	Agent *StormNodeAgent `json:"agent,omitempty"`
	// runtimes are those that workers can start in on the node: Runc, and Docker if
	// the node's configuration turns it on and its daemon answers. The manager binds
	// workers of Docker to no other node. Absent means Runc: agents of older releases
	// report none.
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Runtimes []Runtime `json:"runtimes,omitempty"`
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// imagesWanted is the number of images in spec.images.
	// +optional
	ImagesWanted *int32 `json:"imagesWanted,omitempty"`
	// imagesReady is how many of them are complete in the node's cache.
	// +optional
	ImagesReady *int32 `json:"imagesReady,omitempty"`
	// imagesFailed is how many of them could not be fetched, and will be retried.
	// +optional
	ImagesFailed *int32 `json:"imagesFailed,omitempty"`
	// images is the status of each of them.
	// +listType=map
	// +listMapKey=tag
	// +kubebuilder:validation:MaxItems=200
	// +optional
	Images []StormNodeImageStatus `json:"images,omitempty"`
}

// StormNode is what a node is to prefetch, what it has of that, which runtimes it has,
// and how its agent is reached. It has the name of the Node. The manager creates one for every node that
// has an agent or that a StormImage's spec.prefetch selects; users do not edit it.
//
// +genclient
// +genclient:nonNamespaced
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sn
// +kubebuilder:printcolumn:name="Wanted",type=integer,JSONPath=`.status.imagesWanted`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.imagesReady`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.imagesFailed`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Runtimes",type=string,priority=1,JSONPath=`.status.runtimes`
// +kubebuilder:printcolumn:name="Listening",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Listening")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.images[?(@.state=="Failed")].message`
type StormNode struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is written by the manager.
	// +optional
	Spec StormNodeSpec `json:"spec,omitzero"`
	// status is written by the node's agent.
	// +optional
	Status StormNodeStatus `json:"status,omitzero"`
}

// StormNodeList is a list of StormNodes.
//
// +kubebuilder:object:root=true
type StormNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StormNode `json:"items"`
}
