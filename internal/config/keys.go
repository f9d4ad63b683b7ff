package config

import (
	"slices"
	"time"
)

// The prefixes below which every key must be known, so that a slip of the pen
// is not taken as "unset".
const (
	ociPrefix = "storm.oci."
	ownPrefix = "stormcell."
)

// Long keys that more than one place names.
const (
	keyAllowedImages = "storm.oci.allowed.images"
	keyImage         = "storm.oci.image"
	keyDockerImages  = "stormcell.docker.allowed.images"
	keyPlugin        = "storm.resource.isolation.plugin"
	keyStore         = "storm.oci.image.hdfs.toplevel.dir"
	keyTagPlugin     = "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin"
	keyStoreTagFile  = keyTagPlugin + ".hdfs.hash.file"
	keyLocalTagFile  = keyTagPlugin + ".local.hash.file"
	keyCgroupRoot    = "storm.oci.cgroup.root"
	keyCgroupParent  = "storm.oci.cgroup.parent"
	keyReadonly      = "storm.oci.readonly.bindmounts"
	keyReadwrite     = "storm.oci.readwrite.bindmounts"
	keySeccomp       = "storm.oci.seccomp.profile"
	keyResourcesDir  = "storm.oci.resources.local.dir"
	keyPrincipal     = "storm.hdfs.login.principal"
	keyKeytab        = "storm.hdfs.login.keytab"
	keyBlobPrincipal = "blobstore.hdfs.principal"
	keyBlobKeytab    = "blobstore.hdfs.keytab"
	keyLocalDir      = "storm.local.dir"
	keyStormLogDir   = "storm.log.dir"
	keyArtifactsDir  = "storm.workers.artifacts.dir"
	keyNUMA          = "supervisor.numa.meta"
	keyStormHome     = "stormcell.storm.home"
	keyRunRoot       = "stormcell.run.root"
	// Of worker-launcher.cfg.
	keyLauncherRunRoot = "worker.launcher.oci.run-root"
	keyWorkerLogDir    = "stormcell.log.dir"
	keyWorkerCPULimit  = "storm.worker.cgroup.cpu.limit"
	keyStorageDefault  = "stormcell.worker.ephemeral.storage.default.bytes"
	keyStorageMax      = "stormcell.worker.ephemeral.storage.max.bytes"
	keyDiskHigh        = "stormcell.cache.disk.high.percent"
	keyDiskLow         = "stormcell.cache.disk.low.percent"
)

// Who reads a key.
const (
	byManager = "manager"
	byAgent   = "node-agent"
	byBoth    = "both"
)

// key is one key of storm.yaml that stormcell reads, with all that its
// documentation says. def is the default in words, for people; the values are
// set by defaults and complete.
type key struct {
	name, kind, def, reader, effect string
	read                            setter
}

// keys is the table of every key that is read.
var keys = []key{
	{
		keyAllowedImages, "list of strings", "empty", byManager,
		"Images of the store that workers may use, by exact name; the entry `*` permits every well-formed name. Empty: no worker of the store's images may run.",
		texts(func(d *draft) *[]string { return &d.Images.Allowed }),
	},
	{
		keyImage, "string", "none", byManager,
		"The image of workers that name none. Must be set, and allowed, when there are allowed images.",
		text(func(d *draft) *string { return &d.Images.Default }),
	},
	{
		keyPlugin, "class name", "none", byManager,
		"What runs workers that name no `spec.runtime`: Docker for `" + dockerPlugin + "`, stormcell's own Runc for any other.",
		readPlugin,
	},
	{
		keyStore, "URL", "required", byBoth,
		"Root of the image store: `file:///path`, `hdfs://host:port/path`, or `hdfs://nameservice/path` of the Hadoop configuration in `$HADOOP_CONF_DIR`.",
		text(func(d *draft) *string { return &d.Store.URL }),
	},
	{
		keyStoreTagFile, "URL", "`image-tag-to-hash` in the store", byManager,
		"The store's file of tags. A bare path lies in the file system of the store.",
		text(func(d *draft) *string { return &d.Store.HDFSTagFile }),
	},
	{
		keyLocalTagFile, "path", "none", byManager,
		"A tag file on the manager's own disk. Its tags take precedence over the store's.",
		absolute(func(d *draft) *string { return &d.Store.LocalTagFile }),
	},
	{
		keyTagPlugin + ".cache.refresh.interval.secs", "integer, seconds", "60", byManager,
		"How long an answer of the tag files stays valid, and how often the layer files of an image are checked again.",
		seconds(func(d *draft) *time.Duration { return &d.Store.RefreshInterval }),
	},
	{
		keyTagPlugin + ".num.manifests.to.cache", "integer", "10", byManager,
		"Number of resolved images kept in memory.",
		integer(1, func(d *draft) *int { return &d.Store.ManifestsToCache }),
	},
	{
		keyPrincipal, "string", "`" + keyBlobPrincipal + "`", byBoth,
		"Kerberos principal for a secure HDFS; `_HOST` in it stands for the host's name. Set it together with the keytab; without both, the ticket cache of kinit is used.",
		text(func(d *draft) *string { return &d.Store.Principal }),
	},
	{
		keyKeytab, "path", "`" + keyBlobKeytab + "`", byBoth,
		"Keytab of that principal. Tickets are renewed before they expire.",
		absolute(func(d *draft) *string { return &d.Store.Keytab }),
	},
	{
		keyBlobPrincipal, "string", "none", byBoth,
		"Older name of `" + keyPrincipal + "`, read where that is not set.",
		text(func(d *draft) *string { return &d.blobPrincipal }),
	},
	{
		keyBlobKeytab, "path", "none", byBoth,
		"Older name of `" + keyKeytab + "`, read where that is not set.",
		absolute(func(d *draft) *string { return &d.blobKeytab }),
	},
	{
		keyCgroupRoot, "path", "`/sys/fs/cgroup`", byAgent,
		"Where the host mounts its cgroups; workers see it read-only.",
		absolute(func(d *draft) *string { return &d.Cgroup.Root }),
	},
	{
		keyCgroupParent, "cgroup path", "`/storm`", byAgent,
		"The cgroup that holds the workers' cgroups, below that root. A missing leading `/` is added.",
		text(func(d *draft) *string { return &d.Cgroup.Parent }),
	},
	{
		"storm.cgroup.memory.enforcement.enable", "boolean", "false", byAgent,
		"Whether the kernel enforces workers' memory limits.",
		boolean(func(d *draft) *bool { return &d.Worker.EnforceMemory }),
	},
	{
		keyWorkerCPULimit, "number, percent", "none", byAgent,
		"CPU limit of every worker, whatever it asks for; 100 is one core.",
		number(1, func(d *draft) *float64 { return &d.Worker.CPUPercent }),
	},
	{
		"storm.worker.cgroup.memory.mb.limit", "number, MiB", "none", byAgent,
		"Memory limit of every worker, whatever it asks for, where memory limits are enforced.",
		number(1, func(d *draft) *float64 { return &d.Worker.MemoryMB }),
	},
	{
		keyReadonly, "list of paths", "empty", byAgent,
		"Host paths that workers see read-only at the same path. They must exist.",
		absolutes(func(d *draft) *[]string { return &d.Worker.ReadonlyBinds }),
	},
	{
		keyReadwrite, "list of paths", "empty", byAgent,
		"The same, writable.",
		absolutes(func(d *draft) *[]string { return &d.Worker.ReadwriteBinds }),
	},
	{
		"storm.oci.nscd.dir", "path", "`/var/run/nscd`", byAgent,
		"Directory of the name service cache daemon's socket, seen by workers read-only.",
		absolute(func(d *draft) *string { return &d.Worker.NSCDDir }),
	},
	{
		keySeccomp, "path, or `unconfined`", "built in", byAgent,
		"Seccomp profile (JSON) of workers; `unconfined`: their system calls are not filtered. The built-in one is what `node-agent seccomp-profile` prints; see [security](security.md#system-calls).",
		readSeccomp,
	},
	{
		keyResourcesDir, "path", "`supervisor/oci-resources` in `" + keyLocalDir + "`", byAgent,
		"The node's cache of layers and image configs.",
		absolute(func(d *draft) *string { return &d.Node.ResourcesDir }),
	},
	{
		"storm.oci.layer.mounts.to.keep", "integer", "100", byAgent,
		"Number of layers that stay mounted while no worker uses them; 0 unmounts at once.",
		integer(0, func(d *draft) *int { return &d.Node.LayerMountsToKeep }),
	},
	{
		keyLocalDir, "path", "`storm-local`", byAgent,
		"Storm's directory on the node. A relative path is taken below `" + keyStormHome + "`.",
		text(func(d *draft) *string { return &d.Node.LocalDir }),
	},
	{
		keyStormLogDir, "path", "`logs` in `" + keyStormHome + "`", byAgent,
		"Storm's log directory; only for a relative `" + keyArtifactsDir + "`.",
		absolute(func(d *draft) *string { return &d.logDir }),
	},
	{
		keyArtifactsDir, "path", "`workers-artifacts`", byAgent,
		"Parent of the workers' artifacts. A relative path is taken below `" + keyStormLogDir + "`.",
		text(func(d *draft) *string { return &d.Node.ArtifactsDir }),
	},
	{
		"logviewer.cleanup.age.mins", "integer, minutes", "10080: a week", byAgent,
		"How long the artifacts of a worker that is gone stay on its node, and what its topology shared. 0: for ever.",
		minutes(func(d *draft) *time.Duration { return &d.Node.CleanupAge }),
	},
	{
		"logviewer.cleanup.interval.secs", "integer, seconds", "600", byAgent,
		"How often the agent looks for such artifacts.",
		seconds(func(d *draft) *time.Duration { return &d.Node.CleanupInterval }),
	},
	{
		keyNUMA, "map", "none", byAgent,
		"NUMA zones by id, each with `numa.cores`, `numa.memory.mb` and `numa.ports`, as in Storm.",
		readNUMA,
	},
	{
		"stormcell.image.verify", "`required` or `if-present`", "`if-present`", byBoth,
		"What to do with a layer whose squashfs file has no identity in the store (`layers/<hash>.sqsh.json`): refuse it, or use it unverified.",
		readVerify,
	},
	{
		keyRunRoot, "path", "`/run/stormcell`", byAgent,
		"Where mounts and the records of workers are; readable by root only. `worker.launcher.oci.run-root` in `worker-launcher.cfg` takes precedence.",
		absolute(func(d *draft) *string { return &d.Node.RunRoot }),
	},
	{
		"stormcell.cache.max.bytes", "integer, bytes", "0: no limit", byAgent,
		"Limit of the node's cache of layers. Layers in use are never removed.",
		integer(0, func(d *draft) *int64 { return &d.Node.CacheBytes }),
	},
	{
		keyDiskHigh, "integer, percent", "85", byAgent,
		"When more than this part of the cache's file system is used, as `df` counts, layers that no worker needs are removed, the least recently used first. 100: never.",
		percent(func(d *draft) *int { return &d.Node.DiskHighPercent }),
	},
	{
		keyDiskLow, "integer, percent", "80", byAgent,
		"The use at which that removal ends. Must be less than `" + keyDiskHigh + "`.",
		percent(func(d *draft) *int { return &d.Node.DiskLowPercent }),
	},
	{
		"stormcell.worker.pids.limit", "integer", "16384", byAgent,
		"Limit on processes and threads of a worker, together. The status of a worker that has reached it says so when it ends.",
		integer(1, func(d *draft) *int64 { return &d.Worker.PidsLimit }),
	},
	{
		keyStorageDefault, "integer, bytes", "10737418240", byAgent,
		"What a worker without `spec.resources.limits.ephemeralStorage` may take up of the node's disks; see [ephemeral storage](ephemeral-storage.md). 0: no limit but the next.",
		integer(0, func(d *draft) *int64 { return &d.Worker.StorageDefaultBytes }),
	},
	{
		keyStorageMax, "integer, bytes", "68719476736", byAgent,
		"The most that a worker may take up, whatever it asks for. 0: no limit.",
		integer(0, func(d *draft) *int64 { return &d.Worker.StorageMaxBytes }),
	},
	{
		"stormcell.profiler.timeout.secs", "integer, seconds", "600", byAgent,
		"How long a profiler script may run. Then it is killed, and all processes that it has started.",
		seconds(func(d *draft) *time.Duration { return &d.Worker.ProfilerTimeout }),
	},
	{
		keyWorkerLogDir, "path", "`/var/log/stormcell`", byAgent,
		"What workers write to standard output and error; see [Logs](#logs).",
		absolute(func(d *draft) *string { return &d.Node.LogDir }),
	},
	{
		"stormcell.log.max.bytes", "integer, bytes", "67108864", byAgent,
		"Limit of the log of one run of a worker, all parts together; those of its last two runs are kept.",
		integer(1<<16, func(d *draft) *int64 { return &d.Node.LogBytes }),
	},
	{
		keyDockerImages, "list of strings", "empty", byManager,
		"Images that workers with runtime Docker may use, by full name with registry and tag, such as `docker.io/library/debian:12`; the entry `*` permits every full name. Empty: no worker may run in Docker.",
		texts(func(d *draft) *[]string { return &d.DockerImages.Allowed }),
	},
	{
		"stormcell.docker.enable", "boolean", "false", byAgent,
		"Whether the node offers runtime Docker. Where it is false, Docker is only asked to remove workers that it ran before.",
		boolean(func(d *draft) *bool { return &d.DockerEnabled }),
	},
	{
		"stormcell.docker.host", "URL", "`unix://" + defaultDockerSocket + "`", byAgent,
		"Docker's socket on the node, for workers with runtime Docker; see [Docker](docker.md).",
		readSocket,
	},
	{
		"stormcell.docker.pull.policy", "`Always`, `IfNotPresent` or `Never`", "`IfNotPresent`", byAgent,
		"When Docker is told to pull a worker's image, before each start of the worker.",
		readPullPolicy,
	},
	{
		"stormcell.docker.config", "path", "none", byAgent,
		"Credentials for registries: a Docker `config.json` with `auths`, readable by root alone. It is read before each pull.",
		absolute(func(d *draft) *string { return &d.Docker.ConfigFile }),
	},
	{
		keyStormHome, "path", "none", byAgent,
		"Storm's own installation: workers see it read-only, and relative paths of Storm start there.",
		absolute(func(d *draft) *string { return &d.Worker.StormHome }),
	},
	{
		"java.library.path", "string", "`/usr/local/lib:/opt/local/lib:/usr/lib:/usr/lib64`", byAgent,
		"Where workers look for native code, after their topology's resources and before their own `LD_LIBRARY_PATH`. As in Storm, it hides the `LD_LIBRARY_PATH` of the image.",
		text(func(d *draft) *string { return &d.Worker.JavaLibraryPath }),
	},
}

// ignored are the keys of Storm's own container runtime that have no effect
// here, and why. A file that has them is fine.
var ignored = map[string]string{
	"storm.oci.image.tag.to.manifest.plugin": "tags are looked up by stormcell itself",
	"storm.oci.manifest.to.resources.plugin": "manifests are read by stormcell itself",
	"storm.oci.resources.localizer":          "layers are fetched by stormcell itself",
	"storm.resource.isolation.plugin.enable": "stormcell's workers always run in containers",
	"supervisor.worker.launcher":             "node-agent starts workers without worker-launcher",
	"supervisor.run.worker.as.user":          "stormcell's workers always run as their own user",
}

// names returns every key that is read or ignored, sorted.
func names() []string {
	all := make([]string, 0, len(keys)+len(ignored))
	for _, k := range keys {
		all = append(all, k.name)
	}
	for k := range ignored {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
