// Package seccomp reads system call filters for containers.
package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// MaxSize is the size limit of a profile in bytes; Storm's example has 9,000.
const MaxSize = 1 << 20

// ErrInvalid is a profile that cannot be used as it is.
var ErrInvalid = errors.New("invalid seccomp profile")

// Load reads the profile in the file path. Errors name the file.
func Load(path string) (*specs.LinuxSeccomp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open seccomp profile (storm.oci.seccomp.profile): %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile %s: %w", path, err)
	}
	p, err := Parse(content)
	if err != nil {
		return nil, fmt.Errorf("storm.oci.seccomp.profile %s: %w", path, err)
	}
	return p, nil
}

// Parse reads a profile: a linux.seccomp object of the runtime specification,
// after any number of lines that begin with "#", as Storm's example has them.
// Docker's own extensions (archMap, includes, …) are refused, since the
// runtime would ignore them and filter something else. Errors wrap ErrInvalid.
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

func validate(p *specs.LinuxSeccomp) error {
	if !slices.Contains(actions(), p.DefaultAction) {
		return fmt.Errorf("unknown defaultAction %q; one of %v", p.DefaultAction, actions())
	}
	// A listener would get file descriptors of the worker's process.
	if p.ListenerPath != "" || p.ListenerMetadata != "" {
		return errors.New("listenerPath is not supported")
	}
	for i, c := range p.Syscalls {
		if len(c.Names) == 0 {
			return fmt.Errorf("syscalls[%d] has no names", i)
		}
		if !slices.Contains(actions(), c.Action) {
			return fmt.Errorf("syscalls[%d] (%s, …): unknown action %q; one of %v", i, c.Names[0], c.Action, actions())
		}
		for _, a := range c.Args {
			if a.Index > 5 {
				return fmt.Errorf("syscalls[%d] (%s, …): no argument %d, they are 0 to 5", i, c.Names[0], a.Index)
			}
			if !slices.Contains(operators(), a.Op) {
				return fmt.Errorf("syscalls[%d] (%s, …): unknown op %q; one of %v", i, c.Names[0], a.Op, operators())
			}
		}
	}
	return nil
}

// actions are those of the runtime specification, but for SCMP_ACT_NOTIFY,
// which needs a listener.
func actions() []specs.LinuxSeccompAction {
	return []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap,
		specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog,
	}
}

func operators() []specs.LinuxSeccompOperator {
	return []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
}
