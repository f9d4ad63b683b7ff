package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Identity says what a squashfs layer file is. It lies beside the file, which
// itself is named by the digest of the layer's compressed tar archive and so
// could not be verified without it. Storm's own readers ignore it.
type Identity struct {
	// Digest and Size (bytes) are those of the squashfs file.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// DiffID is the digest of the uncompressed tar archive it was made from.
	DiffID digest.Digest `json:"diffID"`
	// Compression names the squashfs compressor, such as "zstd".
	Compression string `json:"compression"`
}

// ParseIdentity reads an identity document. Errors wrap ErrMalformed.
func ParseIdentity(content []byte) (Identity, error) {
	var id Identity
	if len(content) > MaxIdentitySize {
		return id, fmt.Errorf("layer identity: %w: larger than %d bytes", ErrMalformed, MaxIdentitySize)
	}
	if err := json.Unmarshal(content, &id); err != nil {
		return id, fmt.Errorf("layer identity: %w: %w", ErrMalformed, err)
	}
	if err := ValidateDigest(id.Digest); err != nil {
		return id, fmt.Errorf("layer identity: digest: %w", err)
	}
	if err := ValidateDigest(id.DiffID); err != nil {
		return id, fmt.Errorf("layer identity: diffID: %w", err)
	}
	if id.Size <= 0 {
		return id, fmt.Errorf("layer identity: %w: size %d", ErrMalformed, id.Size)
	}
	return id, nil
}

// Format writes the identity as the document that ParseIdentity reads.
func (id Identity) Format() ([]byte, error) {
	b, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("layer identity: %w", err)
	}
	return append(b, '\n'), nil
}
