package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// WorkerFinalizer keeps a StormWorker until its node is clean of it. The
// manager adds and removes it, since agents may write nothing but status.
const WorkerFinalizer = "stormcell.dev/worker"

// Owners of fields in server-side apply, the same names as in the user agents.
const (
	ManagerFieldOwner = "stormcell-manager"
	AgentFieldOwner   = "stormcell-node-agent"
)

// SystemNamespace is where stormcell's daemons and the agents' Leases live.
const SystemNamespace = "stormcell-system"

// LeaseName names the Lease that the agent of a node renews while it lives.
func LeaseName(node string) string { return "node-" + node }

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// ImageName is the name of the StormImage that the manager makes for tag:
// readable, and unique by a hash of the tag.
func ImageName(tag string) string {
	sum := sha256.Sum256([]byte(tag))
	readable := strings.Trim(notInName.ReplaceAllString(strings.ToLower(tag), "-"), "-")
	if len(readable) > 200 {
		readable = strings.TrimRight(readable[:200], "-")
	}
	return strings.TrimLeft(readable+"-"+hex.EncodeToString(sum[:5]), "-")
}

// ID is the worker's Storm id: spec.workerID, or the object's UID.
func (w *StormWorker) ID() string {
	if w.Spec.WorkerID != "" {
		return w.Spec.WorkerID
	}
	return string(w.UID)
}

// ContainerID names the worker's container, as Storm does: "<port>-<id>".
func (w *StormWorker) ContainerID() string { return fmt.Sprintf("%d-%s", w.Spec.Port, w.ID()) }
