// Package seccomp reads system call filters for containers, and has the default filter.
package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
)

// MaxSize is the size limit of a profile in bytes; Storm's example has 9,000.
const MaxSize = 1 << 20

// ErrInvalid is a profile that cannot be used as it is.
var ErrInvalid = errors.New("invalid seccomp profile")

// Load returns the filter for a value of storm.oci.seccomp.profile: that of the
// file at this path, the built-in one if it is empty, and nil, which is none,
// for config.Unconfined. Errors name the file.
func Load(setting string) (*specs.LinuxSeccomp, error) {
	switch setting {
	case "":
		return Default(), nil
	case config.Unconfined:
		return nil, nil //nolint:nilnil // no filter is a value of the specification
	}
	f, err := os.Open(setting)
	if err != nil {
		return nil, fmt.Errorf("open seccomp profile (storm.oci.seccomp.profile): %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile %s: %w", setting, err)
	}
	p, err := Parse(content)
	if err != nil {
		return nil, fmt.Errorf("storm.oci.seccomp.profile %s: %w", setting, err)
	}
	return p, nil
}

// Parse reads a profile: a linux.seccomp object of the runtime specification,
// after any number of lines that begin with "#", as Storm's example has them.
// Docker's own extensions (archMap, includes, …) are refused, since the
// runtime would ignore them and filter something else; and so are names that
// no system call of Linux has, which it would ignore too. Errors wrap ErrInvalid.
func Parse(content []byte) (*specs.LinuxSeccomp, error) {
	if len(content) > MaxSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, MaxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(withoutComments(content)))
	dec.DisallowUnknownFields()
	p := &specs.LinuxSeccomp{}
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the JSON object", ErrInvalid)
	}
	if err := validate(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p, nil
}

// withoutComments drops the comment lines in front of the JSON text.
func withoutComments(content []byte) []byte {
	for bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte("#")) {
		_, rest, _ := bytes.Cut(bytes.TrimLeft(content, " \t\r\n"), []byte("\n"))
		content = rest
	}
	return content
}
