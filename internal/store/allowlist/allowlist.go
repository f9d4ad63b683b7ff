// Package allowlist decides which image names are well formed and which of
// them a cluster's configuration permits, after the rules of Storm's OciUtils.
package allowlist

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Any is the entry that permits every well-formed image.
const Any = "*"

// Pattern is the grammar of image names: an optional registry with an optional port, a
// repository of parts with slashes between them, an optional tag. It is narrower than
// Storm's, as Docker's is: each part begins and ends with a letter or digit, so that no
// name reads as a path that leads elsewhere, or as an option. Digest references
// (name@sha256:…) are outside of it. The CRDs repeat it.
const Pattern = `^(?:[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?::[0-9]+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`

var grammar = regexp.MustCompile(Pattern)

// The errors of Check.
var (
	ErrNoImages   = errors.New("no images are allowed: storm.oci.allowed.images is empty")
	ErrNoDefault  = errors.New("no image is named and storm.oci.image gives no default")
	ErrNotAllowed = errors.New("image is not in storm.oci.allowed.images")
	ErrMalformed  = errors.New("malformed image name")
)

// ErrDefaultUnset is a list of allowed images without a default image.
var ErrDefaultUnset = errors.New("storm.oci.image must be set when storm.oci.allowed.images is")

// Rules are the image rules of a cluster.
type Rules struct {
	// Allowed is storm.oci.allowed.images: exact names, or Any.
	Allowed []string
	// Default is storm.oci.image: what a worker gets that names no image.
	Default string
}

// WellFormed reports whether name follows the grammar.
func WellFormed(name string) bool { return grammar.MatchString(name) }

// Validate checks the rules themselves, as Nimbus does at its start: with a
// list, every entry is Any or well formed, and the default passes the list.
// The error joins everything that is wrong.
func (r Rules) Validate() error {
	if len(r.Allowed) == 0 {
		return nil
	}
	var all []error
	for _, a := range r.Allowed {
		if a != Any && !WellFormed(a) {
			all = append(all, fmt.Errorf("storm.oci.allowed.images: %w: %q", ErrMalformed, a))
		}
	}
	if r.Default == "" {
		all = append(all, ErrDefaultUnset)
	} else if err := r.Check(r.Default); err != nil {
		all = append(all, fmt.Errorf("storm.oci.image: %w", err))
	}
	return errors.Join(all...)
}

// Select returns the image of a worker that names image ("" for none), or why
// it may not run: the error wraps one of this package's.
func (r Rules) Select(image string) (string, error) {
	if len(r.Allowed) == 0 {
		return "", ErrNoImages
	}
	if image == "" {
		if r.Default == "" {
			return "", ErrNoDefault
		}
		return r.Default, nil
	}
	return image, r.Check(image)
}

// Check returns why image may not be used, nil if it may. It must be well formed,
// and listed exactly as it is written, unless the list has Any.
func (r Rules) Check(image string) error {
	if len(r.Allowed) == 0 {
		return ErrNoImages
	}
	if !slices.Contains(r.Allowed, Any) && !slices.Contains(r.Allowed, image) {
		return fmt.Errorf("%w: %q", ErrNotAllowed, image)
	}
	if !WellFormed(image) {
		return fmt.Errorf("%w: %q", ErrMalformed, image)
	}
	return nil
}
