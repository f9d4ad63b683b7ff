// Package scripts tests how the scripts of hack start daemons, with stand-ins
// for the programs that they start.
package scripts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/test/cluster"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "java" {
		os.Exit(standInForJava())
	}
	os.Exit(m.Run())
}

// house is a repository with the real scripts, and with stand-ins in place of
// what is built into bin.
type house struct {
	*testing.T
	root string
	env  []string
}

func newHouse(t *testing.T, env ...string) house {
	t.Helper()
	h := house{t, t.TempDir(), env}
	if err := os.Symlink(filepath.Join(cluster.Root(), "hack"), filepath.Join(h.root, "hack")); err != nil {
		t.Fatal(err)
	}
	return h
}

// put writes a program, a script of sh, or an empty file if there is no script.
func (h house) put(name, script string) {
	h.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.Fatal(err)
	}
	if script != "" {
		script = "#!/bin/sh\n" + script + "\n"
	}
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		h.Fatal(err)
	}
}

// run runs a verb of a script on a directory, and returns what it prints.
func (h house) run(script, verb, dir string) (string, error) {
	var out bytes.Buffer
	c := exec.Command(filepath.Join(h.root, "hack", script), verb, dir)
	c.Env = append(append(os.Environ(), "PATH="+filepath.Join(h.root, "path")+":"+os.Getenv("PATH")), h.env...)
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// up starts what a script starts, until the end of the test.
func (h house) up(script string) (string, error) {
	h.Helper()
	dir := filepath.Join(h.root, "stand-ins")
	h.Cleanup(func() {
		if out, err := h.run(script, "down", dir); err != nil {
			h.Errorf("%s down: %v\n%s", script, err, out)
		}
	})
	return h.run(script, "up", dir)
}

// Programs that stand for daemons.
const (
	daemon = "exec sleep 1000"
	dying  = "echo the stand-in has no wish to live >&2; exit 1"
)

// programs are the stand-ins for what a script calls. Those that are asked
// whether all is ready say so as often as one who waits has to ask, and no more.
var programs = map[string]map[string]string{
	"cluster.sh": {
		"bin/k8s/etcd": daemon, "bin/k8s/kube-apiserver": daemon,
		"bin/k8s/kubectl": `echo asked >>"$0.asked"; [ "$(wc -l <"$0.asked")" -le 1 ] && echo ok`,
	},
	"docker.sh": {
		"bin/docker/.unpacked": "", "bin/docker/usr/sbin/dockerd": daemon, "bin/docker/usr/bin/docker-registry": daemon,
		// It is asked for the registry and for dockerd.
		"bin/docker/usr/bin/curl": `echo asked >>"$0.asked"; [ "$(wc -l <"$0.asked")" -le 2 ] && printf 200`,
	},
}

// standIns makes a house for a script.
func standIns(t *testing.T, script, behaviour string) house {
	t.Helper()
	h := newHouse(t, behaviourVariable+"="+behaviour)
	for name, content := range programs[script] {
		h.put(name, content)
	}
	if script == "hdfs.sh" {
		h.put("bin/hadoop/jars/stand-in.jar", "")
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(h.root, "path"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(self, filepath.Join(h.root, "path", "java")); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// TestReadyIsAskedOnce: what was waited for is not asked for again. On a busy
// machine the second answer may come late, which is no failure.
func TestReadyIsAskedOnce(t *testing.T) {
	for _, script := range []string{"hdfs.sh", "cluster.sh", "docker.sh"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			if out, err := standIns(t, script, answerOnce).up(script); err != nil {
				t.Errorf("up: %v\n%s", err, out)
			}
		})
	}
}

// TestLateAnswer: one question of a wait has no short time limit of its own.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	if out, err := standIns(t, "hdfs.sh", answerLate).up("hdfs.sh"); err != nil {
		t.Errorf("up: %v\n%s", err, out)
	}
}

// TestDeadDaemon: a wait ends when a daemon has ended, and says which and why.
func TestDeadDaemon(t *testing.T) {
	for _, tt := range []struct{ script, program, name string }{
		{"hdfs.sh", "", "namenode1"},
		{"cluster.sh", "bin/k8s/etcd", "etcd"},
		{"cluster.sh", "bin/k8s/kube-apiserver", "kube-apiserver"},
		{"docker.sh", "bin/docker/usr/sbin/dockerd", "dockerd"},
		{"docker.sh", "bin/docker/usr/bin/docker-registry", "docker-registry"},
	} {
		t.Run(tt.script+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			h := standIns(t, tt.script, die)
			if tt.program != "" {
				h.put(tt.program, dying)
			}
			for _, asked := range []string{"bin/k8s/kubectl", "bin/docker/usr/bin/curl"} {
				h.put(asked, "exit 7")
			}
			out, err := h.up(tt.script)
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Fatalf("up: %v\n%s", err, out)
			}
			for _, want := range []string{tt.name + " has ended; its log is ", tt.name + ".log", "no wish to live"} {
				if !strings.Contains(out, want) {
					t.Errorf("up: %v, and prints, without %q:\n%s", err, want, out)
				}
			}
		})
	}
}

// TestGoneProcess: a script goes on when a process that it asks for is gone, and is
// not a zombie.
func TestGoneProcess(t *testing.T) {
	t.Parallel()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	const script = `set -euo pipefail
source "$1/hack/daemons.sh"
process_gone "$2"
echo "$2 1" >"$3/daemon.pid"
! daemon_pid "$3" daemon
daemon_stop "$3" daemon
await_daemons "$3" daemon true
echo "to the end"`
	c := exec.Command("bash", "-c", script, "bash", cluster.Root(), strconv.Itoa(gone.Process.Pid), t.TempDir())
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "to the end") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClaimedPorts: nobody else gets ports that a script has claimed, though no
// daemon listens on them yet.
func TestClaimedPorts(t *testing.T) {
	t.Parallel()
	const claims = `set -euo pipefail
source "$1/hack/daemons.sh"
RANDOM=1; claim_ports; echo "$first_port"
(RANDOM=1; claim_ports; echo "$first_port")
exec 7>&-
RANDOM=1; claim_ports; echo "$first_port"`
	c := exec.Command("bash", "-c", claims, "bash", cluster.Root())
	c.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ports := strings.Fields(string(out))
	if len(ports) != 3 || ports[0] == ports[1] || ports[0] != ports[2] {
		t.Errorf("the ports of three claims, of which the third follows the end of the others, are %v", ports)
	}
}
