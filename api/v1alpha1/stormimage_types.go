package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StormImageSpec names an image and the nodes that prefetch it.
type StormImageSpec struct {
	// tag is the image's name in the store's tag file, such as
	// "storm/rhel7:dev_current". Grammar: an optional registry with an optional
	// port, a repository in lower case, an optional tag. It cannot be changed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(?:[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?::[0-9]+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$')",message="must be an image name: [registry[:port]/]repository[:tag], repository in lower case, no digest, each part beginning and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed; create another StormImage for another tag"
	// +required
	Tag string `json:"tag"`

	// prefetch makes nodes fetch the image's layers before a worker needs them.
	// The layers stay while prefetch is set, unless a worker needs their space.
	// Without prefetch, a node fetches the image when its first worker needs it.
	// +optional
	Prefetch *StormImagePrefetch `json:"prefetch,omitempty"`
}

// StormImagePrefetch selects the nodes that prefetch an image.
type StormImagePrefetch struct {
	// nodeSelector selects nodes by their labels; empty selects every node,
	// cordoned ones too. A node that begins to match fetches the image. A node
	// that no longer matches keeps the layers until their space is needed.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
}

// ImageBlob is a document of the image store.
type ImageBlob struct {
	// digest is the digest of the content, as sha256:<64 hex digits>.
	// +kubebuilder:validation:MaxLength=71
	// +required
	Digest string `json:"digest"`
	// size is the length in bytes.
	// +required
	Size int64 `json:"size"`
}

// ImageLayer is one layer of a resolved image.
type ImageLayer struct {
	// digest is the digest of the layer's compressed archive in the manifest.
	// +kubebuilder:validation:MaxLength=71
	// +required
	Digest string `json:"digest"`
	// size is the length of that archive in bytes.
	// +required
	Size int64 `json:"size"`
	// file is the path of the squashfs file, relative to the root of the store.
	// +kubebuilder:validation:MaxLength=255
	// +required
	File string `json:"file"`
	// squashfsDigest is the digest of the squashfs file. It is absent if the store
	// does not know it; then the layer cannot be verified.
	// +kubebuilder:validation:MaxLength=71
	// +optional
	SquashfsDigest string `json:"squashfsDigest,omitempty"`
	// squashfsSize is the length of the squashfs file in bytes.
	// +required
	SquashfsSize int64 `json:"squashfsSize"`
}

// StormImageStatus is what the manager knows about the image.
type StormImageStatus struct {
	// manifestDigest is the manifest that the tag names in the store.
	// +kubebuilder:validation:MaxLength=71
	// +optional
	ManifestDigest string `json:"manifestDigest,omitempty"`
	// config is the image's config document.
	// +optional
	Config *ImageBlob `json:"config,omitempty"`
	// layers are the image's layers, base first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	// +optional
	Layers []ImageLayer `json:"layers,omitempty"`
	// resolvedAt is when manifestDigest last changed.
	// +optional
	ResolvedAt *metav1.Time `json:"resolvedAt,omitempty"`
	// prefetch counts the nodes that spec.prefetch selects; absent without it.
	// +optional
	Prefetch *StormImagePrefetchStatus `json:"prefetch,omitempty"`
	// conditions are Allowed, Resolved and Ready, which sums them up; and
	// Prefetched while spec.prefetch is set.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, size(c.message) <= 1024)",message="messages have 1024 characters at most"
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StormImagePrefetchStatus counts nodes. The StormNode of each node has the
// details.
type StormImagePrefetchStatus struct {
	// nodes is the number of nodes that spec.prefetch selects.
	// +required
	Nodes int32 `json:"nodes"`
	// nodesReady is how many of them have every layer of manifestDigest.
	// +required
	NodesReady int32 `json:"nodesReady"`
	// nodesFailed is how many of them could not fetch it, and will retry.
	// +required
	NodesFailed int32 `json:"nodesFailed"`
}

// StormImage is an image tag that workers may use. The manager creates one for
// every allowed tag that a worker names; admins may create them in advance.
//
// +genclient
// +genclient:nonNamespaced
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=stormimg
// +kubebuilder:selectablefield:JSONPath=`.spec.tag`
// +kubebuilder:printcolumn:name="Tag",type=string,JSONPath=`.spec.tag`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.prefetch.nodes`
// +kubebuilder:printcolumn:name="Nodes Ready",type=integer,JSONPath=`.status.prefetch.nodesReady`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Manifest",type=string,priority=1,JSONPath=`.status.manifestDigest`
// +kubebuilder:printcolumn:name="Resolved",type=date,priority=1,JSONPath=`.status.resolvedAt`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Prefetch",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Prefetched")].message`
type StormImage struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec names the image.
	// +required
	Spec StormImageSpec `json:"spec"`
	// status is written by the manager.
	// +optional
	Status StormImageStatus `json:"status,omitzero"`
}

// StormImageList is a list of StormImages.
//
// +kubebuilder:object:root=true
type StormImageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StormImage `json:"items"`
}
