package manifest

import "github.com/opencontainers/go-digest"

// Image is a resolved image: all that a node needs to fetch and verify it.
type Image struct {
	// Tag is the name that was resolved, for messages.
	Tag            string        `json:"tag"`
	ManifestDigest digest.Digest `json:"manifestDigest"`
	Config         Blob          `json:"config"`
	// Layers are base first.
	Layers []Layer `json:"layers"`
}

// Blob is a document or file by digest and size in bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Layer is one squashfs layer of a resolved image.
type Layer struct {
	// Digest and Size are those of the compressed tar archive in the manifest.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// File is the squashfs file's name relative to the root of the store.
	File string `json:"file"`
	// Squashfs is the squashfs file's own identity. Its Digest is empty where
	// the store has none; its Size then is the file's size in the store.
	Squashfs Blob `json:"squashfs"`
}

// SquashfsBytes is the number of bytes to fetch for all layers.
func (i Image) SquashfsBytes() int64 {
	var n int64
	for _, l := range i.Layers {
		n += l.Squashfs.Size
	}
	return n
}

// LocalImage is an image whose files are on this node, verified.
type LocalImage struct {
	Config ImageConfig
	// ConfigPath is where the config's file lies.
	ConfigPath string
	// Layers are base first.
	Layers []LocalLayer
	// Unverified is the number of layers that the store has no identity for.
	Unverified int
}

// LocalLayer is a squashfs file on this node.
type LocalLayer struct {
	// Digest is the digest of the file's content, as it was hashed here.
	Digest digest.Digest
	// Path is where the file lies; only root writes there.
	Path string
}
