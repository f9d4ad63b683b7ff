package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRefusals gives the command what it cannot work with. It says so before
// it changes anything: the places that the configuration names are not made.
func TestRefusals(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the launcher's configuration must be root's")
	}
	dir := rootsDir(t)
	node := filepath.Join(dir, "node")
	file := func(name, content string) string { return write(t, filepath.Join(dir, name), content) }
	none := filepath.Join(dir, "none")
	good := file("good.yaml", stormYAML(node, "file:///nonexistent/store"))
	far := file("far.yaml", stormYAML(node, "gopher://nn/containers"))
	bad := file("bad.yaml", stormYAML(node, "file:///nonexistent/store")+"storm.oci.allowed.image: x\nstormcell.run.root: run\n")
	profile := file("seccomp.json", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["opne"],"action":"SCMP_ACT_ALLOW"}]}`)
	filtered := file("filtered.yaml", stormYAML(node, "file:///nonexistent/store")+"storm.oci.seccomp.profile: "+profile+"\n")
	runRoot := "worker.launcher.oci.run-root=" + filepath.Join(node, "run") + "\n"
	launcher := file("launcher.cfg", runRoot+"worker.launcher.oci.runc=/usr/sbin/runc\n")
	noRunc := file("norunc.cfg", runRoot+"worker.launcher.oci.runc=/no/runc\n")
	badLauncher := file("bad.cfg", runRoot+"min.user.id=many\n")
	distrusted := file("distrusted.cfg", runRoot)
	if err := os.Chmod(distrusted, 0o666); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "theirs")
	if err := errors.Join(os.MkdirAll(theirs+"/local/workers", 0o755), os.Chmod(theirs+"/local/workers", 0o777), os.Chown(theirs, 54321, 0)); err != nil {
		t.Fatal(err)
	}
	strange := file("strange.yaml", stormYAML(theirs, "file:///nonexistent/store"))
	// The last of a flag counts.
	well := []string{"--config", good, "--launcher-config", launcher, "--node-name", "n1", "--kubeconfig", none}
	tests := []struct {
		name string
		args []string
		say  []string
	}{
		{"all that the machine lacks", []string{"--launcher-config", noRunc, "--conmon", "/no/conmon"}, []string{"/no/runc", "worker.launcher.oci.runc", "/no/conmon", "apt-get install conmon"}},
		{"no configuration", []string{"--config", none}, []string{none, "--config"}},
		{"every problem of a configuration", []string{"--config", bad}, []string{"storm.oci.allowed.image: unknown key", "stormcell.run.root"}},
		{"both files", []string{"--config", bad, "--launcher-config", badLauncher}, []string{"stormcell.run.root", badLauncher + ":2: min.user.id"}},
		{"no launcher's configuration", []string{"--launcher-config", none}, []string{"launcher configuration", none}},
		{"a launcher's configuration that all may write", []string{"--launcher-config", distrusted}, []string{"chmod go-w " + distrusted}},
		{"store of no known kind", []string{"--config", far}, []string{"gopher"}},
		{"a seccomp profile that names no system call", []string{"--config", filtered}, []string{profile, `syscalls[0] (opne, …)`, `"opne"`}},
		{"directories of another user", []string{"--config", strange}, []string{"chown root " + theirs, "chmod go-w " + theirs + "/local/workers"}},
		{"no such kubeconfig", nil, []string{"--kubeconfig", none}},
		{"node name", []string{"--node-name", "N 17"}, []string{`--node-name "N 17"`, "lower case"}},
		{"log level", []string{"--log-level", "loud"}, []string{`--log-level "loud"`, "debug, info, warn or error"}},
		{"log format", []string{"--log-format", "xml"}, []string{`--log-format "xml"`, "text or json"}},
		{"an argument", []string{"start"}, []string{"start"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := command()
			c.SetArgs(slices.Concat(well, tt.args))
			c.SetErr(io.Discard)
			err := c.ExecuteContext(t.Context())
			if err == nil {
				t.Fatal("accepted")
			}
			for _, s := range tt.say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error does not say %q: %v", s, err)
				}
			}
			if _, err := os.Lstat(node); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it has made %s: %v", node, err)
			}
		})
	}
}

// rootsDir makes a directory that only root can change, all the way up, which
// none in /tmp is.
func rootsDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "stormcell-test-") //nolint:usetesting // t.TempDir lies in /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// stormYAML is a configuration whose places are all below dir.
func stormYAML(dir, store string) string {
	return fmt.Sprintf(`storm.local.dir: %s/local
storm.log.dir: %[1]s/log
storm.oci.image.hdfs.toplevel.dir: %q
storm.oci.allowed.images: ["a:1"]
storm.oci.image: a:1
`, dir, store)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
