package source

import (
	"fmt"
	"strings"
)

// Transport is the kind of place where an image lies.
type Transport string

// The transports, as skopeo names them.
const (
	Registry      Transport = "docker"
	OCI           Transport = "oci"
	OCIArchive    Transport = "oci-archive"
	DockerArchive Transport = "docker-archive"
)

// otherTransports are skopeo's that are not read here; without this list,
// "containers-storage:x" would be asked of a registry as an image with a tag.
var otherTransports = []string{"dir", "docker-daemon", "containers-storage", "ostree", "sif", "tarball", "atomic"}

// Reference says where an image is.
type Reference struct {
	Transport Transport
	// Path is a directory, a file, or the image's name in a registry.
	Path string
	// Tag names an image of a directory or archive; it may be empty.
	Tag string
}

// ParseReference reads an image name: a Docker reference, which may follow
// docker://, or one of
//
//	oci:DIR[:TAG]  oci-archive:FILE[:TAG]  docker-archive:FILE[:NAME:TAG]
//
// DIR and FILE hold no colon, as in skopeo. Errors wrap ErrBadReference.
func ParseReference(name string) (Reference, error) {
	transport, rest, _ := strings.Cut(name, ":")
	switch Transport(transport) {
	case Registry: // docker:// or an image of that name
	case OCI, OCIArchive, DockerArchive:
		path, tag, _ := strings.Cut(rest, ":")
		if path == "" {
			return Reference{}, fmt.Errorf("%w %q: write %s:PATH[:TAG]", ErrBadReference, name, transport)
		}
		return Reference{Transport: Transport(transport), Path: path, Tag: tag}, nil
	}
	for _, other := range otherTransports {
		if transport == other {
			return Reference{}, fmt.Errorf("%w %q: %s is not supported: copy the image with \"skopeo copy %s oci-archive:FILE\" first", ErrBadReference, name, other, name)
		}
	}
	path := strings.TrimPrefix(name, "docker://")
	if path == "" {
		return Reference{}, fmt.Errorf("%w: it is empty", ErrBadReference)
	}
	return Reference{Transport: Registry, Path: path}, nil
}
