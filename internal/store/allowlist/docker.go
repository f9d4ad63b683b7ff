package allowlist

import (
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/reference"
)

// The errors of Docker.Check, beside ErrMalformed.
var (
	ErrNoDockerImages   = errors.New("no images are allowed in Docker: stormcell.docker.allowed.images is empty")
	ErrNoDockerImage    = errors.New("no image is named, and Docker has no default")
	ErrNotFullName      = errors.New("image name is not full")
	ErrDockerNotAllowed = errors.New("image is not in stormcell.docker.allowed.images")
)

// Docker are a cluster's rules for the images that Docker pulls. They have a list of
// their own: one name is one image in the store and another in a registry.
type Docker struct {
	// Allowed is stormcell.docker.allowed.images: full names, or Any.
	Allowed []string
}

// FullName returns the name with registry and tag that Docker takes name for, such as
// docker.io/library/debian:latest for debian. ErrMalformed if it is none.
func FullName(name string) (string, error) {
	if !WellFormed(name) {
		return "", fmt.Errorf("%w: %q", ErrMalformed, name)
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrMalformed, name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// Validate checks the rules themselves: every entry is Any or a full name. The error
// joins everything that is wrong.
func (d Docker) Validate() error {
	var all []error
	for _, a := range d.Allowed {
		if a != Any {
			all = append(all, isFull(a))
		}
	}
	return errors.Join(all...)
}

// Select returns the image of a worker that names image ("" for none), or why it may
// not run: the error wraps one of this package's.
func (d Docker) Select(image string) (string, error) {
	if len(d.Allowed) > 0 && image == "" {
		return "", ErrNoDockerImage
	}
	return image, d.Check(image)
}

// Check returns why image may not be used, nil if it may. It must be a full name, and
// listed exactly as it is written, unless the list has Any.
func (d Docker) Check(image string) error {
	if len(d.Allowed) == 0 {
		return ErrNoDockerImages
	}
	if err := isFull(image); err != nil {
		return err
	}
	if !slices.Contains(d.Allowed, Any) && !slices.Contains(d.Allowed, image) {
		return fmt.Errorf("%w: %q", ErrDockerNotAllowed, image)
	}
	return nil
}

// isFull returns nil for a full name. Others are not completed: what is granted and
// listed by one name is compared letter by letter.
func isFull(name string) error {
	full, err := FullName(name)
	if err == nil && full != name {
		err = fmt.Errorf("%w: %q means %s in Docker", ErrNotFullName, name, full)
	}
	return err
}
