package manifest

import "github.com/opencontainers/go-digest"

// Folders and files of an image store, as Storm's docker-to-squash.py lays
// them out. All names are relative to the root of the store.
const (
	LayersDir       = "layers"
	ConfigDir       = "config"
	ManifestsDir    = "manifests"
	UnreferencedDir = "unreferenced"
	TagFile         = "image-tag-to-hash"

	layerSuffix    = ".sqsh"
	identitySuffix = ".sqsh.json"
)

// LayerFile names the squashfs file of the layer whose compressed archive has
// digest d. d must be valid (ValidateDigest); so for all names here.
func LayerFile(d digest.Digest) string { return LayersDir + "/" + d.Encoded() + layerSuffix }

// IdentityFile names the identity document of that layer.
func IdentityFile(d digest.Digest) string { return LayersDir + "/" + d.Encoded() + identitySuffix }

// ConfigFile names an image config.
func ConfigFile(d digest.Digest) string { return ConfigDir + "/" + d.Encoded() }

// ManifestFile names a manifest.
func ManifestFile(d digest.Digest) string { return ManifestsDir + "/" + d.Encoded() } //nolint:revive // beside LayerFile and ConfigFile, File would say nothing
