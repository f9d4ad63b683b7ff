package layertar

import (
	"fmt"
	"path"
	"strings"
)

// Names of the OCI image specification's layer format (and, before it, of
// AUFS): a marker file hides what lower layers have.
const (
	whiteoutPrefix = ".wh."
	metadataPrefix = ".wh..wh."
	opaqueMarker   = ".wh..wh..opq"
)

// Limits of names: the kernel's NAME_MAX, and PATH_MAX without its NUL.
const (
	maxName = 255
	maxPath = 4095
)

// cleanName turns an entry's name, or a hard link's target, into a clean path
// relative to the root of the layer, "." for the root itself. As image tools
// do, an absolute name counts from that root, and one that leads out of it is
// refused.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: the name %q holds a NUL", ErrMalformed, name)
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%w: the name %q leads out of the layer", ErrMalformed, name)
	}
	if len(clean) > maxPath {
		return "", fmt.Errorf("%w: a name of %d bytes, at most %d are possible", ErrUnsupported, len(clean), maxPath)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("%w: the name %.32q… has a part of %d bytes, at most %d are possible", ErrUnsupported, name, len(part), maxName)
		}
	}
	return clean, nil
}

// hiddenName is the name that a whiteout marker hides.
func hiddenName(base string) (string, error) {
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return "", fmt.Errorf("%w: the whiteout %q hides no name", ErrMalformed, base)
	}
	return name, nil
}

// isMetadata tells whether a part of name is one of AUFS's own files, such as
// its store of hard links ".wh..wh.plnk". They are no part of the image.
func isMetadata(name string) bool {
	return strings.HasPrefix(name, metadataPrefix) || strings.Contains(name, "/"+metadataPrefix)
}
