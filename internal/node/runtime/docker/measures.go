package docker

import (
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/stormcell/stormcell/internal/node/ocispec"
)

// The labels by which containers are known again.
const (
	labelRunRoot   = "stormcell.dev/run-root"
	labelID        = "stormcell.dev/container-id"
	labelNamespace = "stormcell.dev/namespace"
	labelName      = "stormcell.dev/name"
	labelTopology  = "stormcell.dev/topology-id"
)

// logFiles is how many files Docker keeps of a container's log.
const logFiles = 2

// measure is one way in which a worker's container is tighter than Storm's.
type measure struct {
	name, reason string
	apply        func(*Configuration, ocispec.Input)
}

// measures are all of them, in the order of their application.
var measures = []measure{
	{"labels", "the agent recognizes its own containers, and does not touch those of others", label},
	{"log", "a worker that prints without end does not fill the node's disk", boundLog},
	{"restart", "only the agent starts a worker again", neverRestart},
	{"rlimits", "limits do not depend on how dockerd was started, and a crash leaves no core file, nor starts the host's handler of cores", limitProcess},
	{"pids", "a fork bomb ends at the worker's own limit, not at the node's", limitPids},
	{"swap", "a worker over its memory limit is killed, and does not slow its node down by swapping", noSwap},
	{"oom-score", "when the node runs out of memory, a worker is killed before the daemons that watch it", scoreOOM},
	{"user-file", "the file that says who owns a worker is not the worker's to change", lockUserFile},
	{"cgroup-namespace", "a worker sees its own cgroup only, not the host's tree; its metrics read the same files", hideCgroups},
}

func label(c *Configuration, in ocispec.Input) {
	w := in.Worker
	c.Config.Labels = map[string]string{
		labelRunRoot: in.Policy.Node.RunRoot, labelID: w.ContainerID(),
		labelNamespace: w.Namespace, labelName: w.Name, labelTopology: w.TopologyID,
	}
}

func boundLog(c *Configuration, in ocispec.Input) {
	c.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{
		"max-file": strconv.Itoa(logFiles), "max-size": strconv.FormatInt(in.Policy.Node.LogBytes/logFiles, 10),
	}}
}

func neverRestart(c *Configuration, _ ocispec.Input) {
	c.Host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
}

func limitProcess(c *Configuration, in ocispec.Input) {
	files := int64(ocispec.OpenFiles(in.Host)) //nolint:gosec // a million at most
	c.Host.Ulimits = []*container.Ulimit{{Name: "core", Soft: ocispec.NoCore, Hard: ocispec.NoCore}, {Name: "nofile", Soft: files, Hard: files}}
}

func limitPids(c *Configuration, in ocispec.Input) {
	limit := in.Policy.Worker.PidsLimit
	c.Host.PidsLimit = &limit
}

func noSwap(c *Configuration, in ocispec.Input) {
	if in.Host.SwapAccounting {
		c.Host.MemorySwap = c.Host.Memory
	}
}

func scoreOOM(c *Configuration, in ocispec.Input) { c.Host.OomScoreAdj = ocispec.OOMScoreAdj(in.Host) }

func lockUserFile(c *Configuration, in ocispec.Input) {
	file := ocispec.PathsOf(in.Policy.Node, in.Worker).UserFile
	for i := range c.Host.Mounts {
		if m := &c.Host.Mounts[i]; m.Source == file {
			m.ReadOnly = true
		}
	}
}

// dockersCgroups is where Docker mounts the cgroups of a container's namespace.
const dockersCgroups = "/sys/fs/cgroup"

// hideCgroups gives the worker a cgroup namespace, and the view of it that
// Docker mounts, in the place of the host's tree.
func hideCgroups(c *Configuration, in ocispec.Input) {
	if !in.Host.CgroupNamespaces || in.Policy.Cgroup.Root != dockersCgroups {
		return
	}
	c.Host.CgroupnsMode = container.CgroupnsModePrivate
	c.Host.Mounts = slices.DeleteFunc(c.Host.Mounts, func(m mount.Mount) bool { return m.Source == dockersCgroups })
}
