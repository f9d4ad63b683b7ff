package source

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is what an image is built for.
type Platform struct {
	OS, Architecture string
	// Variant is the version of an ARM CPU, such as "v7"; it may be empty.
	Variant string
}

var platformGrammar = regexp.MustCompile(`^([a-z0-9_]+)/([a-z0-9_]+)(?:/([a-z0-9_.]+))?$`)

// ParsePlatform reads OS/ARCHITECTURE[/VARIANT], such as linux/arm64.
func ParsePlatform(s string) (Platform, error) {
	m := platformGrammar.FindStringSubmatch(s)
	if m == nil {
		return Platform{}, fmt.Errorf("platform %q: write OS/ARCHITECTURE[/VARIANT], such as linux/amd64", s)
	}
	return Platform{OS: m[1], Architecture: m[2], Variant: m[3]}, nil
}

// String writes the platform as ParsePlatform reads it.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Runs reports whether an image for have runs on p. If p names no variant, every
// variant does.
func (p Platform) Runs(have Platform) bool {
	return p.OS == have.OS && p.Architecture == have.Architecture &&
		(p.Variant == "" || p.variant() == have.variant())
}

// variant leaves out what is an architecture's only or first variant.
func (p Platform) variant() string {
	if (p.Architecture == "arm64" && p.Variant == "v8") || (p.Architecture == "amd64" && p.Variant == "v1") {
		return ""
	}
	return p.Variant
}

// attestation marks an index entry of BuildKit that describes another entry.
const attestation = "vnd.docker.reference.type"

// choose picks the entry of an index for a platform. An entry that tells no
// platform is taken if it is the only one.
func choose(entries []v1.Descriptor, platform Platform) (v1.Descriptor, error) {
	var images []v1.Descriptor
	var have []string
	for _, e := range entries {
		if e.Annotations[attestation] != "" {
			continue
		}
		p := platformOf(e)
		if p.OS == "unknown" || p.Architecture == "unknown" {
			continue
		}
		if platform.Runs(p) {
			return e, nil
		}
		images = append(images, e)
		have = append(have, p.String())
	}
	if len(images) == 1 && images[0].Platform == nil {
		return images[0], nil
	}
	slices.Sort(have)
	return v1.Descriptor{}, fmt.Errorf("%w: wanted %s, there is %s: pass --platform", ErrNoPlatform, platform, orNothing(slices.Compact(have)))
}

func platformOf(e v1.Descriptor) Platform {
	if e.Platform == nil {
		return Platform{}
	}
	return Platform{OS: e.Platform.OS, Architecture: e.Platform.Architecture, Variant: e.Platform.Variant}
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
