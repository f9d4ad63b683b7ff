package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// WorkerFinalizer keeps a StormWorker until nothing of it is left on its node. The
// manager adds and removes it, since agents may write only status.
const WorkerFinalizer = "stormcell.dev/worker"

// Field owners of server-side apply. The user agents have the same names.
const (
	ManagerFieldOwner = "stormcell-manager"
	AgentFieldOwner   = "stormcell-node-agent"
)

// SystemNamespace is the namespace of stormcell's daemons and the agents' Leases.
const SystemNamespace = "stormcell-system"

// LeaseName returns the name of the Lease that the agent of a node renews.
func LeaseName(node string) string { return "node-" + node }

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// ImageName returns the name of the StormImage that the manager creates for tag:
// readable, and unique by a hash of the tag.
func ImageName(tag string) string {
	sum := sha256.Sum256([]byte(tag))
	readable := strings.Trim(notInName.ReplaceAllString(strings.ToLower(tag), "-"), "-")
	if len(readable) > 200 {
		readable = strings.TrimRight(readable[:200], "-")
	}
	return strings.TrimLeft(readable+"-"+hex.EncodeToString(sum[:5]), "-")
}

// ID returns the worker's Storm id: spec.workerID, or the object's UID.
func (w *StormWorker) ID() string {
	if w.Spec.WorkerID != "" {
		return w.Spec.WorkerID
	}
	return string(w.UID)
}

// ContainerID returns the name of the worker's container, as Storm builds it:
// "<port>-<id>".
func (w *StormWorker) ContainerID() string { return fmt.Sprintf("%d-%s", w.Spec.Port, w.ID()) }
