package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ImageConfig is the part of an image's config document that a worker's launch
// uses. The other members (Cmd, User, Volumes, Labels, …) have no effect on a
// worker, as in Storm.
type ImageConfig struct {
	Architecture string
	OS           string
	// Env holds "NAME=value" words.
	Env []string
	// Entrypoint comes before the worker's own command line.
	Entrypoint []string
	// DiffIDs are the digests of the uncompressed layer archives, base first.
	DiffIDs []digest.Digest
}

// ParseConfig reads an image config whose content must have the digest want.
// Errors wrap ErrDigestMismatch or ErrMalformed.
func ParseConfig(content []byte, want digest.Digest) (*ImageConfig, error) {
	if err := verify(content, want, MaxConfigSize); err != nil {
		return nil, fmt.Errorf("image config %s: %w", want, err)
	}
	var doc struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       struct {
			Env        []string `json:"Env"`
			Entrypoint []string `json:"Entrypoint"`
		} `json:"config"`
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("image config %s: %w: %w", want, ErrMalformed, err)
	}
	// A NUL ends a word early in the kernel: one word here, another there.
	for _, word := range slices.Concat(doc.Config.Env, doc.Config.Entrypoint) {
		if strings.ContainsRune(word, 0) {
			return nil, fmt.Errorf("image config %s: %w: a NUL byte in Env or Entrypoint", want, ErrMalformed)
		}
	}
	for _, d := range doc.RootFS.DiffIDs {
		if err := ValidateDigest(d); err != nil {
			return nil, fmt.Errorf("image config %s: diff_ids: %w", want, err)
		}
	}
	return &ImageConfig{
		Architecture: doc.Architecture,
		OS:           doc.OS,
		Env:          doc.Config.Env,
		Entrypoint:   doc.Config.Entrypoint,
		DiffIDs:      doc.RootFS.DiffIDs,
	}, nil
}
