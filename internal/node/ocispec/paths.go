package ocispec

import (
	"path/filepath"
	"strconv"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Paths are where the files of one worker lie, in its container as on its
// node: the tree that Storm's supervisor makes below storm.local.dir.
type Paths struct {
	// Worker is <storm.local.dir>/workers/<worker id>, the working directory.
	Worker string
	// Tmp is the container's /tmp: <storm.local.dir>/workers-tmp/<worker id>, and
	// not below Worker as in Storm. A worker could put a link in the place of
	// what lies in its own directory, and root would mount where that leads.
	Tmp string
	// Script is what the container runs with bash.
	Script string
	// Artifacts is <storm.workers.artifacts.dir>/<topology id>/<port>.
	Artifacts string
	// UserFile holds the name of the worker's user.
	UserFile string
	// Supervisor is <storm.local.dir>/supervisor: code and cached images.
	Supervisor string
	// Resources has the files of the topology's jar for its workers, if they were
	// put there with the topology's code.
	Resources string
	// Shared is the directory that all workers of a topology may write to.
	Shared string
}

// Dirs are the parents of the directories of workers. They belong to root.
func Dirs(n config.Node) []string {
	local := func(elements ...string) string { return filepath.Join(append([]string{n.LocalDir}, elements...)...) }
	return []string{
		local(), local("workers"), local("workers-tmp"), local("workers-users"), local("stormcell"),
		local("supervisor"), local("supervisor", "stormdist"), n.ArtifactsDir,
	}
}

// PathsOf returns the paths of w on a node. The names in w must be valid.
func PathsOf(n config.Node, w worker.Spec) Paths {
	supervisor := filepath.Join(n.LocalDir, "supervisor")
	topology := filepath.Join(supervisor, "stormdist", w.TopologyID)
	dir := filepath.Join(n.LocalDir, "workers", w.ID)
	return Paths{
		Worker:     dir,
		Tmp:        filepath.Join(n.LocalDir, "workers-tmp", w.ID),
		Script:     filepath.Join(dir, "storm-worker-script.sh"),
		Artifacts:  filepath.Join(n.ArtifactsDir, w.TopologyID, strconv.Itoa(w.Port)),
		UserFile:   filepath.Join(n.LocalDir, "workers-users", w.ID),
		Supervisor: supervisor,
		Resources:  filepath.Join(topology, "resources"),
		Shared:     filepath.Join(topology, "shared_by_topology"),
	}
}
