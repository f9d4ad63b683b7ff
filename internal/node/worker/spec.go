// Package worker describes one Storm worker as plain values, without Kubernetes types.
package worker

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Spec is one worker to run on this node.
type Spec struct {
	// Namespace, Name and UID are the StormWorker's.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// ID is Storm's id of the worker, a UUID.
	ID         string `json:"id"`
	Port       int    `json:"port"`
	TopologyID string `json:"topologyID"`
	// Runtime is what runs the container; empty is Runc, as in records of
	// versions that had no other.
	Runtime Runtime `json:"runtime,omitempty"`
	// User is the host user's name.
	User string `json:"user"`
	// Image is what the worker is pinned to.
	Image   manifest.Image `json:"image"`
	Command []string       `json:"command,omitempty"`
	Env     []EnvVar       `json:"env,omitempty"`
	// CPUMillis is the CPU limit in thousandths of a core; 0 is none.
	CPUMillis int64 `json:"cpuMillis,omitempty"`
	// MemoryBytes is the memory limit; 0 is none.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// StorageBytes is the limit of what it takes up of the node's disks; 0 is the node's
	// default.
	StorageBytes int64 `json:"storageBytes,omitempty"`
	// NUMAZone is a zone of supervisor.numa.meta; nil is none.
	NUMAZone      *int          `json:"numaZone,omitempty"`
	RestartPolicy RestartPolicy `json:"restartPolicy"`
	// GracePeriod is the time between SIGTERM and SIGKILL.
	GracePeriod time.Duration `json:"gracePeriod"`
}

// Runtime names what runs a container.
type Runtime string

// Runc is the runtime of workers that name none.
const Runc Runtime = "Runc"

// EnvVar is a variable of a worker's environment.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// RestartPolicy says when a worker that has ended is started again.
type RestartPolicy string

// The restart policies.
const (
	RestartAlways    RestartPolicy = "Always"
	RestartOnFailure RestartPolicy = "OnFailure"
	RestartNever     RestartPolicy = "Never"
)

// ContainerID names the worker's container, as Storm does: "<port>-<id>".
func (s Spec) ContainerID() string { return fmt.Sprintf("%d-%s", s.Port, s.ID) }

// RuntimeName is the worker's runtime, Runc if it names none.
func (s Spec) RuntimeName() Runtime { return cmp.Or(s.Runtime, Runc) }

// ErrInvalid is a worker whose names cannot be used to build paths, or that cannot be run.
var ErrInvalid = errors.New("invalid worker")

var (
	uuidGrammar     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	topologyGrammar = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`)
	userGrammar     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	containerIDForm = regexp.MustCompile(`^[0-9]{1,5}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// ValidContainerID reports whether id has the form of a ContainerID, so that it is safe
// as the name of a directory.
func ValidContainerID(id string) bool { return containerIDForm.MatchString(id) }

// ValidTopologyID reports whether id has the form of a topology's id.
func ValidTopologyID(id string) bool { return topologyGrammar.MatchString(id) }

// ParseContainerID returns a Spec with what a container's id says of its
// worker, the port and the id. ErrInvalid if it has not the form of one.
func ParseContainerID(id string) (Spec, error) {
	port, workerID, _ := strings.Cut(id, "-")
	number, err := strconv.Atoi(port)
	s := Spec{Port: number, ID: workerID}
	if err != nil || !ValidContainerID(id) || s.ContainerID() != id {
		return Spec{}, fmt.Errorf("%w: container id %q", ErrInvalid, id)
	}
	return s, nil
}

// Limits on what a worker's program reads, in bytes, as those of StormWorkers. Storm's
// own commands have 4 to 8 KiB, with their class path.
const (
	MaxCommand = 64 << 10
	MaxEnv     = 64 << 10
)

// ValidateNames checks again, on the node, the names that paths are built from; the API
// server has checked them once, but root trusts none.
func (s Spec) ValidateNames() error {
	switch {
	case !uuidGrammar.MatchString(s.ID):
		return fmt.Errorf("%w: worker id %q is not a UUID in lower case", ErrInvalid, s.ID)
	case s.Port < 1 || s.Port > 65535:
		return fmt.Errorf("%w: port %d is not in 1..65535", ErrInvalid, s.Port)
	case !topologyGrammar.MatchString(s.TopologyID):
		return fmt.Errorf("%w: topology id %q", ErrInvalid, s.TopologyID)
	case !userGrammar.MatchString(s.User):
		return fmt.Errorf("%w: user name %q", ErrInvalid, s.User)
	}
	return nil
}

// Validate is ValidateNames for a worker that is to be run: its image, command and
// environment count, too.
func (s Spec) Validate() error {
	if err := s.ValidateNames(); err != nil {
		return err
	}
	switch {
	case s.Image.Tag != "" && !allowlist.WellFormed(s.Image.Tag):
		return fmt.Errorf("%w: image name %q", ErrInvalid, s.Image.Tag)
	case len(s.Command) == 0:
		return fmt.Errorf("%w: no command", ErrInvalid)
	}
	var command, env int
	for _, word := range s.Command {
		command += len(word)
	}
	for _, v := range s.Env {
		env += len(v.Name) + len(v.Value)
	}
	switch {
	case command > MaxCommand:
		return fmt.Errorf("%w: its command has %d bytes, more than %d", ErrInvalid, command, MaxCommand)
	case env > MaxEnv:
		return fmt.Errorf("%w: its environment has %d bytes, more than %d", ErrInvalid, env, MaxEnv)
	}
	return nil
}
