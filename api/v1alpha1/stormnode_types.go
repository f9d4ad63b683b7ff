package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxStormNodeImages is how many images a node can be given ahead of time. It
// keeps the object well below what etcd takes, whatever the messages are.
const MaxStormNodeImages = 200

// StormNodeSpec is what the manager wants of a node.
type StormNodeSpec struct {
	// images are what the node shall have ahead of time: the image of every
	// StormImage whose spec.prefetch chooses the node.
	// +listType=map
	// +listMapKey=tag
	// +kubebuilder:validation:MaxItems=200
	// +optional
	Images []StormNodeImage `json:"images,omitempty"`
}

// StormNodeImage is an image that a node shall have, pinned.
type StormNodeImage struct {
	// tag is the image's name in the store's tag file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Tag string `json:"tag"`
	// manifestDigest is the manifest that the tag names at present, as
	// sha256:<64 hex digits>. A tag that moves in the store changes it.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	// +kubebuilder:validation:MaxLength=71
	// +required
	ManifestDigest string `json:"manifestDigest"`
}

// PrefetchState tells how far a node is with an image.
// +kubebuilder:validation:Enum=Pending;Fetching;Ready;Failed
type PrefetchState string

const (
	// PrefetchPending says that the image's turn has not come yet.
	PrefetchPending PrefetchState = "Pending"
	// PrefetchFetching says that its layers are being fetched.
	PrefetchFetching PrefetchState = "Fetching"
	// PrefetchReady says that every layer is in the node's cache.
	PrefetchReady PrefetchState = "Ready"
	// PrefetchFailed says that it is not in the cache; reason and message tell
	// why, and when it is tried again.
	PrefetchFailed PrefetchState = "Failed"
)

// StormNodeImageStatus is how far a node is with one image.
type StormNodeImageStatus struct {
	// tag is that of spec.images.
	// +kubebuilder:validation:MaxLength=255
	// +required
	Tag string `json:"tag"`
	// manifestDigest is the manifest that this speaks of. While it is not that
	// of spec.images, the node has not seen yet that the tag has moved.
	// +kubebuilder:validation:MaxLength=71
	// +required
	ManifestDigest string `json:"manifestDigest"`
	// state is Pending, Fetching, Ready or Failed.
	// +required
	State PrefetchState `json:"state"`
	// bytes is how many bytes of the image's layers the node has.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`
	// totalBytes is the length of all layers; absent until it is known.
	// +optional
	TotalBytes int64 `json:"totalBytes,omitempty"`
	// reason says in a word why the state is Failed.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Reason string `json:"reason,omitempty"`
	// message says it in a sentence, with what helps.
	// +kubebuilder:validation:MaxLength=1100
	// +optional
	Message string `json:"message,omitempty"`
}

// StormNodeAgent is by what the manager reaches the agent of a node, at the
// address of the Node object.
type StormNodeAgent struct {
	// port is where the agent listens for the manager.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port"`
	// caBundle is the certificate that the agent has made for itself at its
	// start, as PEM, in base64. The manager speaks to nobody else there.
	// +kubebuilder:validation:MaxLength=8192
	// +required
	CABundle []byte `json:"caBundle"`
}

// StormNodeStatus is what the node's agent has made of the spec.
type StormNodeStatus struct {
	// agent is by what the manager reaches the node's agent; absent if that
	// does not listen.
	// +optional
	Agent *StormNodeAgent `json:"agent,omitempty"`
	// observedGeneration is the generation of the spec that this speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// imagesWanted is the number of images in spec.images.
	// +optional
	ImagesWanted *int32 `json:"imagesWanted,omitempty"`
	// imagesReady is how many of them are whole in the node's cache.
	// +optional
	ImagesReady *int32 `json:"imagesReady,omitempty"`
	// imagesFailed is how many of them could not be brought, and are tried again.
	// +optional
	ImagesFailed *int32 `json:"imagesFailed,omitempty"`
	// images tells of each of them.
	// +listType=map
	// +listMapKey=tag
	// +kubebuilder:validation:MaxItems=200
	// +optional
	Images []StormNodeImageStatus `json:"images,omitempty"`
}

// StormNode is what a node shall have ahead of time, what it has of that, and
// how its agent is reached. It bears the Node's name. The manager makes one for
// every node that has an agent, or that a StormImage's spec.prefetch chooses;
// people need not touch it.
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
