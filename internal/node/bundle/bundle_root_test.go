package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runc"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

var alice = hostuser.User{Name: "alice", UID: 54321, GID: 54322, Groups: []int{54323}}

// account is a name service with one user.
type account struct{ user hostuser.User }

func (a account) Lookup(_ context.Context, name string) (hostuser.User, error) {
	if name != a.user.Name {
		return hostuser.User{}, hostuser.ErrUnknown
	}
	return a.user, nil
}

// A group that is not in this machine's /etc/group.
const (
	ldapGroup = "ldap-group"
	ldapGID   = 70001
)

func (a account) LookupGroup(_ context.Context, name string) (int, error) {
	if name != ldapGroup {
		return 0, hostuser.ErrUnknownGroup
	}
	return ldapGID, nil
}

// runtimes are runc, and another with a document of its own.
var runtimes = runtime.Drivers{
	worker.Runc: {Form: runc.Form},
	"Another": {Form: func(in ocispec.Input) (string, any, error) {
		return "another.json", map[string]string{"name": in.Worker.ID}, nil
	}},
}

var emptyImage = &manifest.LocalImage{}

var spec = worker.Spec{
	ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc-1", User: "alice",
	Command: []string{"true"}, Env: []worker.EnvVar{{Name: "A", Value: "b"}},
	Image: manifest.Image{Tag: "storm/rhel7:dev_current", ManifestDigest: digest.Digest("sha256:" + strings.Repeat("ab", 32))},
}

// node is a builder with a tree of its own.
type node struct {
	*Builder
	conf  *config.Config
	t     *testing.T
	base  string
	paths ocispec.Paths
}

// settings are what a test changes of a node.
type settings struct {
	Options
	conf *config.Config
}

func newNode(t *testing.T, change func(*settings)) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files to other users")
	}
	t.Setenv("TMPDIR", "/var/tmp") // a worker's own /tmp would hide its directories
	base := t.TempDir()
	s := settings{Options{Users: account{alice}, Runtimes: runtimes}, testConfig(base)}
	s.Config = func() *config.Config { return s.conf }
	if change != nil {
		change(&s)
	}
	return &node{Builder: New(s.Options), conf: s.conf, t: t, base: base, paths: ocispec.PathsOf(s.conf.Node, spec)}
}

func (n *node) prepare() (string, error) {
	return n.Prepare(n.t.Context(), spec, &manifest.LocalImage{
		Config: manifest.ImageConfig{Env: []string{"PATH=/bin"}}, ConfigPath: "/cache/config/ef1f",
	}, "/rootfs")
}

func (n *node) mustPrepare() string {
	n.t.Helper()
	bundle, err := n.prepare()
	if err != nil {
		n.t.Fatal(err)
	}
	return bundle
}

// tree lists everything below base: mode, owner, name, target of links.
func (n *node) tree() map[string]string {
	n.t.Helper()
	found := map[string]string{}
	err := filepath.Walk(n.base, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		line := strconv.FormatUint(uint64(st.Mode), 8) + " " + strconv.Itoa(int(st.Uid)) + ":" + strconv.Itoa(int(st.Gid))
		if target, err := os.Readlink(path); err == nil {
			line = "-> " + strings.TrimPrefix(target, n.base)
		}
		if path != n.base {
			found[strings.TrimPrefix(path, n.base)] = line
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

var prepared = map[string]string{
	"/logs":                                         "40755 0:0",
	"/logs/workers-artifacts":                       "40755 0:0",
	"/logs/workers-artifacts/wc-1":                  "40755 0:0",
	"/logs/workers-artifacts/wc-1/6703":             "42770 54321:54322",
	"/logs/workers-artifacts/wc-1/6703/worker.yaml": "100660 54321:54322",
	"/logs/workers-artifacts/wc-1/6703/runc-6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb.yaml": "100660 54321:54322",

	"/run":         "40700 0:0",
	"/run/workers": "40700 0:0",
	"/run/workers/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb":                    "40700 0:0",
	"/run/workers/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/bundle":             "40700 0:0",
	"/run/workers/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/bundle/config.json": "100600 0:0",

	"/storm":                           "40755 0:0",
	"/storm/stormcell":                 "40700 0:0",
	"/storm/stormcell/topologies":      "40700 0:0",
	"/storm/stormcell/topologies/wc-1": "40700 0:0",
	"/storm/stormcell/topologies/wc-1/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb": "100600 0:0",
	"/storm/supervisor":                                                          "40755 0:0",
	"/storm/supervisor/stormdist":                                                "40755 0:0",
	"/storm/supervisor/stormdist/wc-1":                                           "40755 0:0",
	"/storm/supervisor/stormdist/wc-1/shared_by_topology":                        "42770 54321:54322",
	"/storm/workers":                                                             "40755 0:0",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb":                        "42770 54321:54322",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/artifacts":              "-> /logs/workers-artifacts/wc-1/6703",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/heartbeats":             "42770 54321:54322",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/pids":                   "42770 54321:54322",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/storm-worker-script.sh": "100660 54321:54322",
	"/storm/workers/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/tmp":                    "-> /tmp",
	"/storm/workers-tmp":                                                         "40755 0:0",
	"/storm/workers-tmp/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb":                    "40770 54321:54322",
	"/storm/workers-users":                                                       "40755 0:0",
	"/storm/workers-users/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb":                  "100644 0:0",
}

func TestPrepareMakesStormsTree(t *testing.T) {
	n := newNode(t, nil)
	bundle := n.mustPrepare()
	if d := cmp.Diff(prepared, n.tree()); d != "" {
		t.Error(d)
	}
	contents := map[string]string{
		n.paths.UserFile: "alice",
		filepath.Join(n.paths.Artifacts, "worker.yaml"): "logs.groups: []\nlogs.users: []\ntopology.submitter.user: \"alice\"\nworker-id: \"" + spec.ID + "\"\n",
		n.paths.Script: "#!/bin/bash\nexport 'A=b';\nexport 'LD_LIBRARY_PATH=" +
			strings.Join([]string{filepath.Join(n.paths.Resources, "Linux-"+javaArch()), n.paths.Resources, "/usr/lib"}, ":") +
			"';\n\numask 0027\nexec 'true';\n",
		filepath.Join(n.paths.Artifacts, "runc-"+spec.ContainerID()+".yaml"): "imageName: \"storm/rhel7:dev_current\"\nmanifest: \"" +
			strings.Repeat("ab", 32) + "\"\nconfigPath: \"/cache/config/ef1f\"\n",
	}
	for path, want := range contents {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	var s specs.Spec
	content, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &s); err != nil {
		t.Fatal(err)
	}
	if s.Root.Path != "/rootfs" || s.Process.User.UID != 54321 || s.Process.Capabilities == nil {
		t.Errorf("config.json: root %+v, process %+v", s.Root, s.Process)
	}
}

// TestResourcesAreLinked: whoever brings a topology's code to the node puts
// them beside it.
func TestResourcesAreLinked(t *testing.T) {
	n := newNode(t, nil)
	must(t, os.MkdirAll(n.paths.Resources, 0o755))
	n.mustPrepare()
	if target, err := os.Readlink(filepath.Join(n.paths.Worker, "resources")); err != nil || target != n.paths.Resources {
		t.Errorf("link to %q, %v", target, err)
	}
	must(t, n.Remove(t.Context(), spec))
	if _, err := os.Stat(n.paths.Resources); err != nil {
		t.Error("the topology's resources were deleted: ", err)
	}
}

func TestPrepareTwice(t *testing.T) {
	n := newNode(t, nil)
	first := n.mustPrepare()
	if second := n.mustPrepare(); second != first {
		t.Errorf("bundle %s, then %s", first, second)
	}
	if d := cmp.Diff(prepared, n.tree()); d != "" {
		t.Error(d)
	}
}

// TestLauncherGroup: the group is looked up where users are, which knows more
// groups than /etc/group, and one that is configured and unknown is an error.
func TestLauncherGroup(t *testing.T) {
	for group, want := range map[string]int{"": 54322, ldapGroup: ldapGID} {
		n := newNode(t, func(o *settings) { o.Group = group })
		n.mustPrepare()
		var st unix.Stat_t
		if err := unix.Stat(n.paths.Artifacts, &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Gid) != want {
			t.Errorf("group %q: gid %d, want %d", group, st.Gid, want)
		}
	}
	n := newNode(t, func(o *settings) { o.Group = "no-such-group" })
	before := n.tree()
	_, err := n.Prepare(t.Context(), spec, emptyImage, "/rootfs")
	if !errors.Is(err, hostuser.ErrUnknownGroup) || !strings.Contains(err.Error(), "storm.worker-launcher.group") {
		t.Errorf("a group that the host does not know: %v", err)
	}
	if d := cmp.Diff(before, n.tree()); d != "" {
		t.Errorf("it left something: %s", d)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// precious is a file of the host that no planted name may lead to.
func precious(t *testing.T) (path string, check func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "precious")
	must(t, os.WriteFile(path, []byte("keep"), 0o600))
	return path, func() {
		t.Helper()
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		content, err := os.ReadFile(path)
		if err != nil || string(content) != "keep" || st.Uid != 0 || st.Mode != unix.S_IFREG|0o600 {
			t.Errorf("the host's file was touched: %q, uid %d, mode %o, %v", content, st.Uid, st.Mode, err)
		}
	}
}

// What a worker can plant at the names that root uses in its directories.
func TestPrepareReplacesWhatAWorkerPlanted(t *testing.T) {
	names := func(n *node) []string {
		return []string{
			n.paths.Script, filepath.Join(n.paths.Worker, "tmp"), filepath.Join(n.paths.Worker, "heartbeats"), filepath.Join(n.paths.Worker, "pids"),
			filepath.Join(n.paths.Worker, "artifacts"), filepath.Join(n.paths.Artifacts, "worker.yaml"),
			filepath.Join(n.paths.Artifacts, "runc-"+spec.ContainerID()+".yaml"),
			filepath.Join(n.paths.Artifacts, ".worker.yaml.stormcell"), filepath.Join(n.paths.Worker, ".storm-worker-script.sh.stormcell"),
		}
	}
	plants := map[string]func(path, precious string) error{
		"symlink":              func(path, precious string) error { return os.Symlink(precious, path) },
		"symlink to directory": func(path, precious string) error { return os.Symlink(filepath.Dir(precious), path) },
		"hard link":            func(path, precious string) error { return os.Link(precious, path) },
		"fifo":                 func(path, _ string) error { return unix.Mkfifo(path, 0o666) },
		"file":                 func(path, _ string) error { return os.WriteFile(path, []byte("mine"), 0o666) },
		"full directory": func(path, precious string) error {
			must(t, os.MkdirAll(filepath.Join(path, "a/b"), 0o777))
			must(t, os.Symlink(filepath.Dir(precious), filepath.Join(path, "a/link")))
			return os.Chown(path, alice.UID, alice.GID)
		},
	}
	for name, plant := range plants {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, nil)
			n.mustPrepare()
			file, check := precious(t)
			for _, path := range names(n) {
				must(t, os.RemoveAll(path))
				must(t, plant(path, file))
			}
			n.mustPrepare()
			check()
			got := n.tree()
			for path := range got { // what lies in a kept directory is the worker's own
				if strings.Contains(path, "/a") && !strings.HasSuffix(path, "/artifacts") && prepared[path] == "" {
					delete(got, path)
				}
			}
			if d := cmp.Diff(prepared, got); d != "" {
				t.Error(d)
			}
			must(t, n.Remove(t.Context(), spec))
			check()
		})
	}
}

// TestWhatBearsAWorkersNameStays: root gives a worker only what was made for
// it, and removes nothing else with it, whoever's it is.
func TestWhatBearsAWorkersNameStays(t *testing.T) {
	for name, uid := range map[string]int{"root's": 0, "the user's own, of another worker": alice.UID, "another user's": 54999} {
		for part, path := range map[string]func(*node) string{
			"worker directory": func(n *node) string { return n.paths.Worker },
			"tmp":              func(n *node) string { return n.paths.Tmp },
		} {
			t.Run(part+", "+name, func(t *testing.T) {
				n := newNode(t, nil)
				must(t, os.MkdirAll(path(n), 0o700))
				must(t, os.WriteFile(filepath.Join(path(n), "precious"), nil, 0o600))
				must(t, os.Chown(path(n), uid, 0))
				before := n.tree()
				if _, err := n.prepare(); !errors.Is(err, ErrForeignOwner) || !strings.Contains(err.Error(), path(n)) {
					t.Errorf("error = %v, want ErrForeignOwner that names %s", err, path(n))
				}
				must(t, n.Remove(t.Context(), spec))
				if d := cmp.Diff(before, n.tree()); d != "" {
					t.Errorf("a refused worker and its removal changed the tree: %s", d)
				}
			})
		}
	}
	// After a reboot, what was made for a worker is its own still.
	n := newNode(t, nil)
	n.mustPrepare()
	n.afterReboot()
	n.mustPrepare()
	must(t, n.Remove(t.Context(), spec))
	if d := cmp.Diff(artifactsOnly, n.files()); d != "" {
		t.Error(d)
	}
}

// TestTreeOfAnother: whoever owns storm.local.dir can put a link in the place
// of a directory of root's in it. Nothing is made, given or deleted there.
func TestTreeOfAnother(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	storm := n.conf.Node.LocalDir
	precious := t.TempDir()
	victim := filepath.Join(precious, spec.ID)
	must(t, os.Mkdir(victim, 0o700))
	must(t, os.Chown(storm, 54999, 54999))
	workers := filepath.Dir(n.paths.Worker)
	must(t, os.RemoveAll(workers))
	must(t, os.Symlink(precious, workers))

	said := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), storm+" belongs to uid 54999, run: chown root "+storm) {
			t.Errorf("%s: error = %v, want ErrUntrusted with the cure", what, err)
		}
	}
	_, err := n.prepare()
	said("prepare", err)
	said("remove", n.Remove(t.Context(), spec))
	_, err = n.Recover(t.Context(), nil)
	said("recover", err)
	said("sweep", n.Sweep(t.Context(), spec.ContainerID()))
	if fi, err := os.Stat(victim); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the directory behind the link was touched: %v, %v", fi, err)
	}
}

// TestSourcesOfBindMounts: nothing is mounted from where others than root could
// put a link meanwhile, whoever named it.
func TestSourcesOfBindMounts(t *testing.T) {
	for key, name := range map[string]func(*config.Config, string){
		"storm.oci.readonly.bindmounts[0]":  func(c *config.Config, dir string) { c.Worker.ReadonlyBinds = []string{dir} },
		"storm.oci.readwrite.bindmounts[0]": func(c *config.Config, dir string) { c.Worker.ReadwriteBinds = []string{dir} },
		"storm.oci.nscd.dir":                func(c *config.Config, dir string) { c.Worker.NSCDDir = dir },
		"stormcell.storm.home":              func(c *config.Config, dir string) { c.Worker.StormHome = dir },
	} {
		t.Run(key, func(t *testing.T) {
			n := newNode(t, nil)
			theirs := filepath.Join(n.base, "theirs")
			dir := filepath.Join(theirs, "dir")
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.Chown(dir, alice.UID, alice.GID)) // which may be
			name(n.conf, dir)
			n.mustPrepare()
			must(t, os.Chown(theirs, alice.UID, alice.GID))
			_, err := n.prepare()
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), key) ||
				!strings.Contains(err.Error(), theirs+" belongs to uid 54321, run: chown root "+theirs) {
				t.Errorf("error = %v, want ErrUntrusted with the key, the owner and the cure", err)
			}
		})
	}
}

// TestEverySourceIsLookedAt: what a runtime reads has no bind mount but those
// that are judged before.
func TestEverySourceIsLookedAt(t *testing.T) {
	n := newNode(t, nil)
	content, err := os.ReadFile(filepath.Join(n.mustPrepare(), "config.json"))
	must(t, err)
	var s specs.Spec
	must(t, json.Unmarshal(content, &s))
	known := map[string]bool{}
	for _, b := range ocispec.Binds(ocispec.Input{Worker: spec, Policy: n.conf}) {
		known[b.Source] = true
	}
	for _, m := range s.Mounts {
		if m.Type == "bind" && !known[m.Source] {
			t.Errorf("%s is mounted unseen", m.Source)
		}
	}
}

// TestMarksThatOthersCanWrite: marks count only where nobody but root can write them.
func TestMarksThatOthersCanWrite(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	marks := filepath.Join(n.conf.Node.LocalDir, "stormcell/topologies")
	must(t, os.Chmod(marks, 0o777))
	if left, err := n.Recover(t.Context(), nil); !errors.Is(err, ErrUntrusted) || len(left) != 0 {
		t.Errorf("recover: %v, %v", left, err)
	}
	if err := n.Sweep(t.Context(), spec.ContainerID()); !errors.Is(err, ErrUntrusted) {
		t.Errorf("sweep: %v", err)
	}
	if _, err := os.Stat(n.paths.Worker); err != nil {
		t.Error(err)
	}
}

func TestPrepareRefusesAnotherUsersDirectories(t *testing.T) {
	for name, path := range map[string]func(*node) string{
		"topology's shared directory": func(n *node) string { return n.paths.Shared },
		"artifacts":                   func(n *node) string { return n.paths.Artifacts },
		"worker directory":            func(n *node) string { return n.paths.Worker },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, nil)
			must(t, os.MkdirAll(path(n), 0o700))
			must(t, os.Chown(path(n), 54999, 54999))
			if _, err := n.prepare(); !errors.Is(err, ErrForeignOwner) || !strings.Contains(err.Error(), path(n)) {
				t.Errorf("error = %v, want ErrForeignOwner that names %s", err, path(n))
			}
			if fi, err := os.Stat(path(n)); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 54999 {
				t.Errorf("the directory was touched: %v %v", fi, err)
			}
		})
	}
}

func TestPrepareRefusesParentsThatWorkersCanChange(t *testing.T) {
	tests := map[string]func(path string) error{
		"the user's own":     func(path string) error { return os.Chown(path, alice.UID, 0) },
		"writable for all":   func(path string) error { return os.Chmod(path, 0o777) },
		"writable for group": func(path string) error { return errors.Join(os.Chown(path, 0, 54323), os.Chmod(path, 0o775)) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, nil)
			workers := filepath.Dir(n.paths.Worker)
			must(t, os.MkdirAll(workers, 0o755))
			must(t, change(workers))
			if _, err := n.prepare(); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), workers) {
				t.Errorf("error = %v, want ErrUntrusted that names %s", err, workers)
			}
		})
	}
}

func TestPrepareRefusesBadInput(t *testing.T) {
	tests := []struct {
		name   string
		change func(*settings)
		want   error
		says   string
	}{
		{"missing read-only bind", func(o *settings) { o.conf.Worker.ReadonlyBinds = []string{"/etc", "/no/such"} }, ErrBindSourceMissing, "storm.oci.readonly.bindmounts[1]: stat /no/such"},
		{"missing nscd directory that was chosen", func(o *settings) { o.conf.Worker.NSCDDir = "/no/nscd" }, ErrBindSourceMissing, "storm.oci.nscd.dir"},
		{"missing storm home", func(o *settings) { o.conf.Worker.StormHome = "/no/storm" }, ErrBindSourceMissing, "stormcell.storm.home"},
		{"local directory below /tmp", func(o *settings) { o.conf.Node.LocalDir = "/tmp/storm" }, ErrHidden, "storm.local.dir"},
		{"artifacts in /tmp", func(o *settings) { o.conf.Node.ArtifactsDir = "/tmp" }, ErrHidden, "storm.workers.artifacts.dir"},
		{"bind mount below /tmp", func(o *settings) { o.conf.Worker.ReadonlyBinds = []string{"/etc", "/tmp"} }, ErrHidden, "storm.oci.readonly.bindmounts[1] is /tmp"},
		{"missing seccomp profile", func(o *settings) { o.conf.Worker.SeccompProfile = "/no/profile" }, os.ErrNotExist, "/no/profile"},
		{"unknown user", func(o *settings) { o.Users = account{hostuser.User{Name: "bob"}} }, hostuser.ErrRefused, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, tt.change)
			if _, err := n.prepare(); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want %v with %q", err, tt.want, tt.says)
			}
			if got := n.tree(); len(got) != 0 {
				t.Errorf("left behind %v", got)
			}
		})
	}
}

func TestBadNamesBuildNoPath(t *testing.T) {
	n := newNode(t, nil)
	for _, change := range []func(*worker.Spec){
		func(w *worker.Spec) { w.ID = "../../../../etc" },
		func(w *worker.Spec) { w.TopologyID = ".." },
		func(w *worker.Spec) { w.Port = -1 },
	} {
		w := spec
		change(&w)
		if _, err := n.Prepare(t.Context(), w, &manifest.LocalImage{}, "/rootfs"); !errors.Is(err, worker.ErrInvalid) {
			t.Errorf("Prepare: %v", err)
		}
		if err := n.Remove(t.Context(), w); !errors.Is(err, worker.ErrInvalid) {
			t.Errorf("Remove: %v", err)
		}
	}
}

// TestFormIsTheRuntimes: a bundle has the document of its worker's runtime, and
// no other.
func TestFormIsTheRuntimes(t *testing.T) {
	for name, want := range map[worker.Runtime]string{"": "config.json", worker.Runc: "config.json", "Another": "another.json"} {
		n := newNode(t, nil)
		w := spec
		w.Runtime = name
		dir, err := n.Prepare(t.Context(), w, &manifest.LocalImage{}, "/rootfs")
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != want {
			t.Errorf("bundle of runtime %q: %v, %v; want %s", name, entries, err, want)
		}
	}
	n, w := newNode(t, nil), spec
	w.Runtime = "Unknown"
	if _, err := n.Prepare(t.Context(), w, &manifest.LocalImage{}, "/rootfs"); !errors.Is(err, runtime.ErrUnknown) {
		t.Errorf("bundle of an unknown runtime: error = %v", err)
	}
	if got := n.tree(); len(got) != 0 {
		t.Errorf("left behind %v", got)
	}
}
