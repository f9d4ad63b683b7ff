// Package config reads the configuration that a Storm operator already has:
// storm.yaml and worker-launcher.cfg, with stormcell's own keys (stormcell.…)
// beside Storm's.
package config

import (
	"time"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
)

// Config is what stormcell uses of a storm.yaml, with defaults filled in.
type Config struct {
	// Images are the allowlist and the default image.
	Images allowlist.Rules
	// DockerImages are the allowlist of runtime Docker.
	DockerImages allowlist.Docker
	// Runtime is the runtime of workers that name none, as
	// storm.resource.isolation.plugin says; empty for stormcell's own.
	Runtime string
	Fixed
	Worker Worker
	Docker Docker
	// NUMA is supervisor.numa.meta by zone id.
	NUMA map[int]NUMAZone
}

// Fixed is what stays as it is while a node-agent runs: where things are, since
// what runs was put there and must be found again, and what its parts are made
// with. The manager, whose parts are made again, follows the store.
type Fixed struct {
	Store  Store
	Node   Node
	Cgroup Cgroup
	// DockerEnabled is stormcell.docker.enable, and DockerSocket the path of
	// stormcell.docker.host.
	DockerEnabled bool
	DockerSocket  string
}

// Store says where images are and how their tags are looked up.
type Store struct {
	// URL is storm.oci.image.hdfs.toplevel.dir.
	URL string
	// HDFSTagFile and LocalTagFile are the two tag files; the local one wins
	// per tag. At least one is set; HDFSTagFile defaults to the store's own.
	HDFSTagFile, LocalTagFile string
	// RefreshInterval is how long an answer of the tag files is good for.
	RefreshInterval time.Duration
	// ManifestsToCache is the number of manifests kept in memory.
	ManifestsToCache int
	// Verify is stormcell.image.verify.
	Verify store.VerifyPolicy
	// Principal and Keytab log in to a secure HDFS; both or neither are set.
	Principal, Keytab string
}

// Cgroup says where workers' cgroups are.
type Cgroup struct {
	// Root is storm.oci.cgroup.root, the host's cgroup mount root.
	Root string
	// Parent is storm.oci.cgroup.parent, absolute below Root.
	Parent string
}

// Worker says what workers get from their next launch on.
type Worker struct {
	// EnforceMemory is storm.cgroup.memory.enforcement.enable.
	EnforceMemory bool
	// CPUPercent is storm.worker.cgroup.cpu.limit (100 is one core), 0 unset.
	CPUPercent float64
	// MemoryMB is storm.worker.cgroup.memory.mb.limit in MiB, 0 unset.
	MemoryMB float64
	// PidsLimit is stormcell.worker.pids.limit: processes and threads of a worker.
	PidsLimit int64
	// StorageDefaultBytes is stormcell.worker.ephemeral.storage.default.bytes, for
	// workers that name no limit, and StorageMaxBytes ….max.bytes; 0 is none.
	StorageDefaultBytes, StorageMaxBytes int64
	// ReadonlyBinds and ReadwriteBinds are host paths mounted at themselves.
	ReadonlyBinds, ReadwriteBinds []string
	// NSCDDir is storm.oci.nscd.dir.
	NSCDDir string
	// SeccompProfile is storm.oci.seccomp.profile, as seccomp.Load takes it: the
	// path of a profile, Unconfined, or empty for the built-in one.
	SeccompProfile string
	// StormHome is stormcell.storm.home, mounted read-only; empty for none.
	StormHome string
	// JavaLibraryPath is java.library.path: where workers look for native code
	// after their topology's own.
	JavaLibraryPath string
	// ProfilerTimeout is stormcell.profiler.timeout.secs.
	ProfilerTimeout time.Duration
}

// Unconfined is the value of storm.oci.seccomp.profile, by Kubernetes' word,
// for workers whose system calls are not filtered.
const Unconfined = "unconfined"

// Node says where things are on a node, and how much of them is kept.
type Node struct {
	// LocalDir is storm.local.dir, absolute.
	LocalDir string
	// ArtifactsDir is storm.workers.artifacts.dir, absolute.
	ArtifactsDir string
	// CleanupAge is logviewer.cleanup.age.mins: how long artifacts stay that no
	// worker has; 0 is for ever. CleanupInterval is logviewer.cleanup.interval.secs.
	CleanupAge, CleanupInterval time.Duration
	// ResourcesDir is storm.oci.resources.local.dir: the cache of layers.
	ResourcesDir string
	// CacheBytes is stormcell.cache.max.bytes: the limit of that cache; 0 is none.
	CacheBytes int64
	// DiskHighPercent and DiskLowPercent are stormcell.cache.disk.high.percent
	// and .low.percent: how full the cache's file system may get, and how full
	// it is made then.
	DiskHighPercent, DiskLowPercent int
	// LayerMountsToKeep is storm.oci.layer.mounts.to.keep.
	LayerMountsToKeep int
	// LogDir is stormcell.log.dir: what workers write to stdout and stderr.
	LogDir string
	// LogBytes is stormcell.log.max.bytes, of one run of a worker.
	LogBytes int64
	// RunRoot is stormcell.run.root unless RunRoot, the option, gives another.
	RunRoot string
}

// Docker says how workers of runtime Docker come to run.
type Docker struct {
	// Pull is stormcell.docker.pull.policy.
	Pull PullPolicy
	// ConfigFile is stormcell.docker.config; empty for none.
	ConfigFile string
}

// PullPolicy says when an image is pulled that a worker is about to start from.
type PullPolicy string

// The pull policies.
const (
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
	PullNever        PullPolicy = "Never"
)

// NUMAZone is one zone of supervisor.numa.meta.
type NUMAZone struct {
	Cores []int
	Ports []int
}

// Launcher is what stormcell uses of a worker-launcher.cfg.
type Launcher struct {
	// Group is storm.worker-launcher.group: the group of workers' files.
	Group string
	// MinUserID is min.user.id: the least uid that may run a worker.
	MinUserID int
	// BannedUsers is banned.users; root is always refused besides.
	BannedUsers []string
	// BannedGroups is banned.groups: groups that no worker has; root's is always one
	// of them.
	BannedGroups []string
	// Runc is worker.launcher.oci.runc.
	Runc string
	// RunRoot is worker.launcher.oci.run-root; empty when it is not set.
	RunRoot string
	// ProfilerScript is worker.profiler.script.path.
	ProfilerScript string
	// Docker and Nsenter are the paths of those programs.
	Docker, Nsenter string
}
