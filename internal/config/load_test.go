package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
)

// least is the shortest configuration that is whole.
const least = `
storm.oci.image.hdfs.toplevel.dir: file:///srv/containers
stormcell.storm.home: /opt/storm
`

// leastConfig is what it means: every default.
func leastConfig() *Config {
	return &Config{
		Fixed: Fixed{
			Store: Store{
				URL:              "file:///srv/containers",
				HDFSTagFile:      "file:///srv/containers/image-tag-to-hash",
				RefreshInterval:  time.Minute,
				ManifestsToCache: 10,
				Verify:           store.VerifyIfPresent,
			},
			Node: Node{
				LocalDir:          "/opt/storm/storm-local",
				ArtifactsDir:      "/opt/storm/logs/workers-artifacts",
				CleanupAge:        7 * 24 * time.Hour,
				CleanupInterval:   10 * time.Minute,
				ResourcesDir:      "/opt/storm/storm-local/supervisor/oci-resources",
				LayerMountsToKeep: 100,
				DiskHighPercent:   85,
				DiskLowPercent:    80,
				LogDir:            "/var/log/stormcell",
				LogBytes:          64 << 20,
				RunRoot:           "/run/stormcell",
			},
			Cgroup:       Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
			DockerSocket: "/var/run/docker.sock",
		},
		Worker: Worker{
			PidsLimit:           16384,
			StorageDefaultBytes: 10 << 30,
			StorageMaxBytes:     64 << 30,
			NSCDDir:             "/var/run/nscd",
			StormHome:           "/opt/storm",
			JavaLibraryPath:     "/usr/local/lib:/opt/local/lib:/usr/lib:/usr/lib64",
			ProfilerTimeout:     10 * time.Minute,
		},
		Docker: Docker{Pull: PullIfNotPresent},
	}
}

func TestParseDefaults(t *testing.T) {
	got, _, err := Parse("storm.yaml", []byte(least))
	if diff := cmp.Diff(leastConfig(), got); err != nil || diff != "" {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
}

// The example of Storm's OCI-support.md, whose port is not a number.
func TestParseSeed(t *testing.T) {
	seed, err := os.ReadFile("testdata/seed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	content := strings.ReplaceAll(string(seed), "host:port", "host:8020") + "stormcell.storm.home: /home/y/lib64/storm\nstorm.local.dir: /home/y/var/storm\n"
	got, notes, err := Parse("storm.yaml", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	want := leastConfig()
	want.Images = allowlist.Rules{
		Allowed: []string{"storm/rhel7:dev_current", "storm/rhel7:dev_previous", "storm/rhel7:dev_test"},
		Default: "storm/rhel7:dev_current",
	}
	want.Store.URL = "hdfs://host:8020/containers"
	want.Store.HDFSTagFile = "hdfs://host:8020/containers/image-tag-to-hash"
	want.Worker.ReadonlyBinds = []string{"/home/y/lib64/storm", "/etc/krb5.conf"}
	want.Worker.SeccompProfile = "/home/y/conf/storm/seccomp.json"
	want.Worker.StormHome = "/home/y/lib64/storm"
	want.Node.LocalDir = "/home/y/var/storm"
	want.Node.ResourcesDir = "/home/y/var/storm/supervisor/oci-resources"
	want.Node.ArtifactsDir = "/home/y/lib64/storm/logs/workers-artifacts"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	wantNotes := []string{
		"storm.yaml:12: storm.oci.image.tag.to.manifest.plugin: has no effect: tags are looked up by stormcell itself",
		"storm.yaml:14: storm.oci.manifest.to.resources.plugin: has no effect: manifests are read by stormcell itself",
		"storm.yaml:19: storm.oci.resources.localizer: has no effect: layers are fetched by stormcell itself",
	}
	if !slices.Equal(notes, wantNotes) {
		t.Errorf("notes %q", notes)
	}
	if _, _, err := Parse("storm.yaml", seed); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "invalid port") {
		t.Errorf("%v, want the fault in the port", err)
	}
}

func TestParseValues(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		change     func(*Config)
	}{
		{"list of one as a bare string", "storm.oci.readonly.bindmounts: /etc/krb5.conf", func(c *Config) { c.Worker.ReadonlyBinds = []string{"/etc/krb5.conf"} }},
		{"no filter", "storm.oci.seccomp.profile: unconfined", func(c *Config) { c.Worker.SeccompProfile = "unconfined" }},
		{"Docker by default", "storm.resource.isolation.plugin: org.apache.storm.container.docker.DockerManager", func(c *Config) { c.Runtime = "Docker" }},
		{"another plugin", "storm.resource.isolation.plugin: org.apache.storm.container.cgroup.CgroupManager", func(*Config) {}},
		{"Docker's keys", "stormcell.docker.enable: yes\nstormcell.docker.allowed.images: docker.io/library/debian:12\nstormcell.docker.host: unix:///run//docker.sock\nstormcell.docker.pull.policy: Never\nstormcell.docker.config: /etc/stormcell/docker.json", func(c *Config) {
			c.DockerEnabled, c.DockerSocket = true, "/run/docker.sock"
			c.DockerImages.Allowed = []string{"docker.io/library/debian:12"}
			c.Docker = Docker{Pull: PullNever, ConfigFile: "/etc/stormcell/docker.json"}
		}},
		{"empty list", "storm.oci.readonly.bindmounts: []", func(*Config) {}},
		{"paths are cleaned", "storm.oci.readwrite.bindmounts: [/a//b/, /c/../d]", func(c *Config) { c.Worker.ReadwriteBinds = []string{"/a/b", "/d"} }},
		{"yes is true in YAML 1.1", "storm.cgroup.memory.enforcement.enable: Yes", func(c *Config) { c.Worker.EnforceMemory = true }},
		{"true", "storm.cgroup.memory.enforcement.enable: true", func(c *Config) { c.Worker.EnforceMemory = true }},
		{"off", "storm.cgroup.memory.enforcement.enable: off", func(*Config) {}},
		{"whole number for a number", "storm.worker.cgroup.cpu.limit: 250", func(c *Config) { c.Worker.CPUPercent = 250 }},
		{"fraction", "storm.worker.cgroup.memory.mb.limit: 1024.5", func(c *Config) { c.Worker.MemoryMB = 1024.5 }},
		{"number with underscores", "stormcell.cache.max.bytes: 50_000_000_000", func(c *Config) { c.Node.CacheBytes = 50_000_000_000 }},
		{"artifacts for ever", "logviewer.cleanup.age.mins: 0", func(c *Config) { c.Node.CleanupAge = 0 }},
		{"zero where zero means something", "storm.oci.layer.mounts.to.keep: 0", func(c *Config) { c.Node.LayerMountsToKeep = 0 }},
		{"anchor and alias", "x: &a [/p]\nstorm.oci.readonly.bindmounts: *a", func(c *Config) { c.Worker.ReadonlyBinds = []string{"/p"} }},
		{"key without a value", "storm.oci.nscd.dir:", func(*Config) {}},
		{"tilde", "storm.oci.nscd.dir: ~", func(*Config) {}},
		{"relative cgroup parent", "storm.oci.cgroup.parent: storm/workers/", func(c *Config) { c.Cgroup.Parent = "/storm/workers" }},
		{"refresh", "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs: 5", func(c *Config) { c.Store.RefreshInterval = 5 * time.Second }},
		{"verify", "stormcell.image.verify: required", func(c *Config) { c.Store.Verify = store.VerifyRequired }},
		{"older names of the login", "blobstore.hdfs.principal: a/b@C\nblobstore.hdfs.keytab: /k", func(c *Config) { c.Store.Principal, c.Store.Keytab = "a/b@C", "/k" }},
		{"older and newer names", "blobstore.hdfs.principal: a\nstorm.hdfs.login.principal: b\nstorm.hdfs.login.keytab: /k", func(c *Config) { c.Store.Principal, c.Store.Keytab = "b", "/k" }},
		{"local tag file beside the store's", "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.local.hash.file: /etc/tags", func(c *Config) { c.Store.LocalTagFile = "/etc/tags" }},
		{"tag file without a scheme", "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file: /elsewhere/tags", func(c *Config) { c.Store.HDFSTagFile = "file:///elsewhere/tags" }},
		{"relative artifacts", "storm.log.dir: /var/log/storm\nstorm.workers.artifacts.dir: art", func(c *Config) { c.Node.ArtifactsDir = "/var/log/storm/art" }},
		{"absolute directories", "storm.local.dir: /data/storm\nstorm.workers.artifacts.dir: /data/art", func(c *Config) {
			c.Node.LocalDir, c.Node.ArtifactsDir, c.Node.ResourcesDir = "/data/storm", "/data/art", "/data/storm/supervisor/oci-resources"
		}},
		{"no images, any default", "storm.oci.image: whatever", func(c *Config) { c.Images.Default = "whatever" }},
		{"keys of Storm", "nimbus.seeds: [a, b]\nui.port: 8080\ntopology.oci.image: Not Ours\n1: 2\n{a: b}: c", func(*Config) {}},
		{
			"numa", "supervisor.numa.meta:\n  0: {numa.cores: [0, 1], numa.memory.mb: 1000, numa.ports: [6700], numa.generic.resources.map: {gpu: 1}}\n  \"1\": {numa.cores: [], numa.memory.mb: 0, numa.ports: []}",
			func(c *Config) { c.NUMA = map[int]NUMAZone{0: {Cores: []int{0, 1}, Ports: []int{6700}}, 1: {}} },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := leastConfig()
			c.change(want)
			got, _, err := Parse("storm.yaml", []byte(least+c.yaml))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v, (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestParseNotes(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no images", "", "storm.yaml: storm.oci.allowed.images: is empty, so no worker of the store's images may run"},
		{"no images in Docker", "storm.resource.isolation.plugin: org.apache.storm.container.docker.DockerManager", "storm.yaml: stormcell.docker.allowed.images: is empty, so no worker may run in Docker, which storm.resource.isolation.plugin makes the default"},
		{"no value", "storm.oci.cgroup.root:", "storm.yaml:4: storm.oci.cgroup.root: has no value, so the default applies: `/sys/fs/cgroup`"},
		{"slip in the prefix", "storm.oic.image: a", "storm.yaml:4: storm.oic.image: is not a key of stormcell; did you mean storm.oci.image?"},
		{"cgroup parent", "storm.oci.cgroup.parent: storm", "storm.yaml:4: storm.oci.cgroup.parent: is taken as /storm"},
		{"ignored", "supervisor.run.worker.as.user: false", "storm.yaml:4: supervisor.run.worker.as.user: has no effect: stormcell's workers always run as their own user"},
		{"older name", "blobstore.hdfs.principal: a\nstorm.hdfs.login.keytab: /k", "storm.yaml:4: blobstore.hdfs.principal: is an older name: write storm.hdfs.login.principal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, notes, err := Parse("storm.yaml", []byte(least+c.yaml))
			if err != nil || !slices.Contains(notes, c.want) {
				t.Errorf("%q, %v, want %q", notes, err, c.want)
			}
		})
	}
	// Storm has hundreds of keys; none of them may look like a slip.
	_, notes, err := Parse("storm.yaml", []byte(least+"storm.local.hostname: a\nstorm.log4j2.conf.dir: b\nsupervisor.slots.ports: [1]\nstorm.zookeeper.port: 1\n"))
	if err != nil || len(notes) != 1 {
		t.Errorf("%q, %v, want the note of no images alone", notes, err)
	}
}

func TestParseProblems(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "storm.oci.imgae: a", "storm.yaml:4: storm.oci.imgae: unknown key: the nearest known one is storm.oci.image"},
		{"unknown own key", "stormcell.runroot: /a", "storm.yaml:4: stormcell.runroot: unknown key: the nearest known one is stormcell.run.root"},
		{"key twice", "storm.oci.nscd.dir: /a\nstorm.oci.nscd.dir: /b", "storm.yaml:5: storm.oci.nscd.dir: appears twice, first in line 4: keep one"},
		{"ignored key twice", "storm.oci.resources.localizer: a\nstorm.oci.resources.localizer: b", "storm.yaml:5: storm.oci.resources.localizer: appears twice, first in line 4: keep one"},
		{"number for a string", "storm.oci.image: 3.5", "storm.yaml:4: storm.oci.image: want a string, have a number: put 3.5 in quotes"},
		{"boolean for a string", "storm.oci.image: on", "storm.yaml:4: storm.oci.image: want a string, have a boolean: put on in quotes"},
		{"date for a string", "storm.oci.image: 2020-12-04", "storm.yaml:4: storm.oci.image: want a string, have a date: put 2020-12-04 in quotes"},
		{"list for a string", "storm.oci.image: [a]", "storm.yaml:4: storm.oci.image: want a string, have a list"},
		{"control character", `storm.oci.image: "a\nb"`, `storm.yaml:4: storm.oci.image: control characters are not allowed in "a\nb"`},
		{"number in a list", "storm.oci.allowed.images:\n- a\n- 1", "storm.yaml:6: storm.oci.allowed.images: want a string, have a number: put 1 in quotes"},
		{"nothing in a list", "storm.oci.allowed.images:\n- a\n-", "storm.yaml:6: storm.oci.allowed.images: want a string, have nothing"},
		{"map for a list", "storm.oci.allowed.images: {a: b}", "storm.yaml:4: storm.oci.allowed.images: want a list of strings, or one string, have a map"},
		{"string for a boolean", `storm.cgroup.memory.enforcement.enable: "true"`, "storm.yaml:4: storm.cgroup.memory.enforcement.enable: want true or false, without quotes, have a string (true)"},
		{"number for a boolean", `storm.cgroup.memory.enforcement.enable: 1`, "storm.yaml:4: storm.cgroup.memory.enforcement.enable: want true or false, without quotes, have a number (1)"},
		{"string for a number", `storm.oci.layer.mounts.to.keep: "5"`, "storm.yaml:4: storm.oci.layer.mounts.to.keep: want a whole number of at least 0, have a string (5)"},
		{"fraction", "stormcell.log.max.bytes: 1.5", "storm.yaml:4: stormcell.log.max.bytes: want a whole number of at least 65536, have a number (1.5)"},
		{"negative", "stormcell.cache.max.bytes: -1", "storm.yaml:4: stormcell.cache.max.bytes: want a whole number of at least 0, have a number (-1)"},
		{"more than 64 bits", "stormcell.cache.max.bytes: 99999999999999999999", "storm.yaml:4: stormcell.cache.max.bytes: want a whole number of at least 0, have a number (99999999999999999999)"},
		{"more than all", "stormcell.cache.disk.high.percent: 101", "storm.yaml:4: stormcell.cache.disk.high.percent: want a whole number from 1 to 100, have a number (101)"},
		{"nothing of the disk", "stormcell.cache.disk.low.percent: 0", "storm.yaml:4: stormcell.cache.disk.low.percent: want a whole number from 1 to 100, have a number (0)"},
		{
			"default storage beyond the most", "stormcell.worker.ephemeral.storage.max.bytes: 1048576",
			"storm.yaml: stormcell.worker.ephemeral.storage.default.bytes: 10737418240 is more than stormcell.worker.ephemeral.storage.max.bytes, which is 1048576",
		},
		{"negative storage", "stormcell.worker.ephemeral.storage.max.bytes: -1", "storm.yaml:4: stormcell.worker.ephemeral.storage.max.bytes: want a whole number of at least 0, have a number (-1)"},
		{"low mark above the high one", "stormcell.cache.disk.high.percent: 80", "storm.yaml: stormcell.cache.disk.low.percent: 80 is not less than stormcell.cache.disk.high.percent, which is 80"},
		{"not a number", "storm.worker.cgroup.cpu.limit: .nan", "storm.yaml:4: storm.worker.cgroup.cpu.limit: want a number of at least 1, have a number (.nan)"},
		{"infinite", "storm.worker.cgroup.memory.mb.limit: .inf", "storm.yaml:4: storm.worker.cgroup.memory.mb.limit: want a number of at least 1, have a number (.inf)"},
		{"less than the kernel's least quota", "storm.worker.cgroup.cpu.limit: 0.5", "storm.yaml:4: storm.worker.cgroup.cpu.limit: want a number of at least 1, have a number (0.5)"},
		{"no interval", "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs: 0", "storm.yaml:4: storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs: want a whole number of seconds, at least 1, have a number (0)"},
		{"a Docker that is far away", "stormcell.docker.host: tcp://docker:2375", `storm.yaml:4: stormcell.docker.host: want the URL of a unix socket, such as unix:///var/run/docker.sock, have "tcp://docker:2375"`},
		{"an image of no registry", "stormcell.docker.allowed.images: debian", `storm.yaml:4: stormcell.docker.allowed.images: image name is not full: "debian" means docker.io/library/debian:latest in Docker`},
		{"a socket without a place", "stormcell.docker.host: unix://docker.sock", `storm.yaml:4: stormcell.docker.host: want the URL of a unix socket, such as unix:///var/run/docker.sock, have "unix://docker.sock"`},
		{"a policy in other letters", "stormcell.docker.pull.policy: always", `storm.yaml:4: stormcell.docker.pull.policy: want "Always", "IfNotPresent" or "Never", have a string (always)`},
		{"a word that is no path", "storm.oci.seccomp.profile: Unconfined", `storm.yaml:4: storm.oci.seccomp.profile: want an absolute path or "unconfined", have "Unconfined"`},
		{"relative path", "storm.oci.seccomp.profile: seccomp.json", `storm.yaml:4: storm.oci.seccomp.profile: want an absolute path or "unconfined", have "seccomp.json"`},
		{"verify", "stormcell.image.verify: always", `storm.yaml:4: stormcell.image.verify: want "required" or "if-present", have a string (always)`},
		{"keytab alone", "storm.hdfs.login.keytab: /k", "storm.yaml:4: storm.hdfs.login.keytab: is set without storm.hdfs.login.principal: set both or neither"},
		{"principal alone", "blobstore.hdfs.principal: p", "storm.yaml: storm.hdfs.login.principal: is set without storm.hdfs.login.keytab: set both or neither"},
		{"swapped cgroup keys", "storm.oci.cgroup.parent: /sys/fs/cgroup\nstorm.oci.cgroup.root: /storm", "storm.yaml:4: storm.oci.cgroup.parent: /sys/fs/cgroup is the place of storm.oci.cgroup.root: the parent is a cgroup below it, such as /storm"},
		{"cgroup parent upwards", "storm.oci.cgroup.parent: /a/../../b", `storm.yaml:4: storm.oci.cgroup.parent: "/a/../../b" may not have .. segments`},
		{"no cgroup parent", "storm.oci.cgroup.parent: /", "storm.yaml:4: storm.oci.cgroup.parent: must name a cgroup of its own, such as /storm"},
		{"bind of everything", "storm.oci.readonly.bindmounts: /", "storm.yaml:4: storm.oci.readonly.bindmounts: / would hide the image: name the directories that workers need"},
		{"bind twice", "storm.oci.readonly.bindmounts: /a\nstorm.oci.readwrite.bindmounts: [/b, /a]", "storm.yaml:5: storm.oci.readwrite.bindmounts: /a is also in storm.oci.readonly.bindmounts: keep one"},
		{"run root of workers", "stormcell.run.root: /opt/storm/storm-local/workers/run", "storm.yaml:4: stormcell.run.root: /opt/storm/storm-local/workers/run lies in /opt/storm/storm-local/workers, where workers write: choose another directory"},
		{"writable cache", "storm.oci.readwrite.bindmounts: /data\nstorm.oci.resources.local.dir: /data", "storm.yaml:5: storm.oci.resources.local.dir: /data lies in /data, where workers write: choose another directory"},
		{"tag file", "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file: ftp://a/b", `storm.yaml:4: storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file: store URL "ftp://a/b": the scheme must be file or hdfs`},
		{"default not allowed", "storm.oci.allowed.images: [a]\nstorm.oci.image: b", `storm.yaml:4: storm.oci.image: image is not in storm.oci.allowed.images: "b"`},
		{"no default", "storm.oci.allowed.images: [a]", "storm.yaml:4: storm.oci.image must be set when storm.oci.allowed.images is"},
		{"malformed image", "storm.oci.allowed.images: [a, B]\nstorm.oci.image: a", `storm.yaml:4: storm.oci.allowed.images: malformed image name: "B"`},
		{"merge key", "x: &x {storm.oci.image: a}\n<<: *x", "storm.yaml:5: <<: merge keys are not read: write the keys out"},
		{"numa list", "supervisor.numa.meta: [a]", "storm.yaml:4: supervisor.numa.meta: want a map of zones by their ids, have a list"},
		{"numa id", "supervisor.numa.meta: {a: {}}", `storm.yaml:4: supervisor.numa.meta: zone "a": want the number of a NUMA node as its id`},
		{"numa zone twice", "supervisor.numa.meta:\n  0: {numa.cores: [], numa.memory.mb: 0, numa.ports: []}\n  \"0\": {}", "storm.yaml:6: supervisor.numa.meta: zone 0 appears twice"},
		{"numa core twice", "supervisor.numa.meta:\n  0: {numa.cores: [1], numa.memory.mb: 0, numa.ports: []}\n  1: {numa.cores: [1], numa.memory.mb: 0, numa.ports: []}", "storm.yaml:6: supervisor.numa.meta: zone 1: numa.cores: 1 is already in zone 0"},
		{"numa port twice", "supervisor.numa.meta:\n  0: {numa.cores: [], numa.memory.mb: 0, numa.ports: [1, 1]}", "storm.yaml:5: supervisor.numa.meta: zone 0: numa.ports: 1 is already in zone 0"},
		{"numa port", "supervisor.numa.meta:\n  0: {numa.cores: [], numa.memory.mb: 0, numa.ports: [70000]}", `storm.yaml:5: supervisor.numa.meta: zone 0: numa.ports: want numbers from 1 to 65535, have "70000"`},
		{"numa member missing", "supervisor.numa.meta:\n  0: {numa.cores: [], numa.ports: []}", "storm.yaml:5: supervisor.numa.meta: zone 0: numa.memory.mb is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, _, err := Parse("storm.yaml", []byte(least+c.yaml))
			if !errors.Is(err, ErrInvalid) || conf != nil {
				t.Fatalf("%v, %v, want %v", conf, err, ErrInvalid)
			}
			if err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestParseWholeFile(t *testing.T) {
	const noStore = "storm.yaml: storm.oci.image.hdfs.toplevel.dir: is not set"
	for _, c := range []struct{ name, yaml, want string }{
		{"empty", "", noStore},
		{"comments", "# nothing\n", noStore},
		{"null", "null", noStore},
		{"scalar", "storm", "storm.yaml: want a map of keys to values, have a string"},
		{"list", "- a", "storm.yaml: want a map of keys to values, have a list"},
		{"two documents", "a: b\n---\nc: d\n", "storm.yaml: more than one YAML document"},
		{"bad YAML", "a: b\n  c: d\n", "storm.yaml: yaml: line 2:"},
		{"unknown alias", "a: *b\n", "storm.yaml: yaml: unknown anchor 'b' referenced"},
		{"too large", strings.Repeat("#", MaxConfigSize+1), "storm.yaml: larger than 1048576 bytes"},
		{"nothing absolute", "storm.oci.image.hdfs.toplevel.dir: /srv/a", `storm.local.dir: "storm-local" is relative to Storm's home: give an absolute path, or set stormcell.storm.home`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Parse("storm.yaml", []byte(c.yaml)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestParseTellsEverythingAtOnce(t *testing.T) {
	_, _, err := Parse("f", []byte("storm.oci.a: 1\nstormcell.b: 2\nstorm.oci.image: 3\nstormcell.storm.home: rel\n"))
	var problems InvalidError
	if !errors.As(err, &problems) {
		t.Fatalf("%v, want an InvalidError", err)
	}
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if want := []int{0, 1, 2, 3, 4}; !slices.Equal(lines, want) {
		t.Errorf("problems of lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestParseIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "storm.oci.key.number.%d: 1\n", i)
	}
	b.WriteString("stormcell." + strings.Repeat("x", 1000) + ": 1\n")
	_, _, err := Parse("f", []byte(b.String()))
	if !errors.Is(err, ErrInvalid) || len(err.Error()) > 20_000 || !strings.HasSuffix(err.Error(), "more problems") {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "storm.yaml")
	if _, _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("missing: %v", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("fifo: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(least), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, err := Load(path)
	if diff := cmp.Diff(leastConfig(), got); err != nil || diff != "" {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
	if err := os.Truncate(path, MaxConfigSize+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("huge: %v", err)
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"storm.oci.allowed.image":         keyAllowedImages,
		"storm.oci.cgroup.parrent":        keyCgroupParent,
		"storm.oci.hdfs.toplevel.dir":     keyStore,
		"stormcell.image.verfiy":          "stormcell.image.verify",
		"storm.oci.readonly.bindmount":    keyReadonly,
		"storm.oci.read-write.bindmounts": keyReadwrite,
	} {
		if got, _ := nearest(name, names()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "xabc", 1}, {"ca", "abc", 3}} {
		if got, back := distance(c.a, c.b), distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q to %q: %d, back %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte("a: &a [*a]\nstorm.oci.allowed.images: *a\n? {x: y}\n: z\nsupervisor.numa.meta: &n {0: *n}"))
	f.Add([]byte("storm.oci.image: !!binary aGk=\nstorm.oci.nscd.dir: !!int x\nstorm.worker.cgroup.cpu.limit: !!float y"))
	f.Fuzz(func(t *testing.T, content []byte) {
		conf, _, err := Parse("f", content)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || conf != nil {
				t.Errorf("%v, %v", conf, err)
			}
			return
		}
		for _, p := range []string{
			conf.Node.LocalDir, conf.Node.ArtifactsDir, conf.Node.ResourcesDir, conf.Node.RunRoot, conf.Node.LogDir,
			conf.Cgroup.Root, conf.Cgroup.Parent,
		} {
			if filepath.Clean(p) != p || !filepath.IsAbs(p) || strings.Contains(p, "\x00") {
				t.Errorf("path %q", p)
			}
		}
		if _, err := store.ParseAddress(conf.Store.URL); err != nil {
			t.Error(err)
		}
		if _, err := store.ParseAddress(conf.Store.HDFSTagFile); err != nil {
			t.Error(err)
		}
		if conf.Images.Validate() != nil || (conf.Store.Principal == "") != (conf.Store.Keytab == "") {
			t.Errorf("%+v", conf)
		}
	})
}
