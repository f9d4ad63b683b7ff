package docker

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	engineapi "github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/node/runtime/runtimetest"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// guestImage has the guest and nothing else.
const guestImage = "stormcell/guest:latest"

func TestConformance(t *testing.T) {
	loadGuest(t)
	runtimetest.Run(t, func(t *testing.T) *runtimetest.Subject {
		dir := t.TempDir()
		spec, err := worker.ParseContainerID(runtimetest.ID)
		if err != nil {
			t.Fatal(err)
		}
		spec.Image = manifest.Image{Tag: guestImage}
		in := ocispec.Input{
			Worker: spec, User: hostuser.User{UID: 12345, GID: 12345}, Host: ocispec.Host{SwapAccounting: true, MaxOpenFiles: 1024},
			Policy: &config.Config{
				Fixed: config.Fixed{
					Node:   config.Node{LocalDir: dir, RunRoot: filepath.Join(dir, "run"), LogBytes: 1 << 20},
					Cgroup: config.Cgroup{Root: "/sys/fs/cgroup", Parent: s.CgroupParent()},
				},
				Worker: config.Worker{EnforceMemory: true, PidsLimit: 1024},
			},
		}
		r := newRuntime(t, in.Policy)
		return &runtimetest.Subject{
			Runtime: r, Logs: r, Members: cgroup.New(in.Policy.Cgroup.Root, in.Policy.Cgroup.Parent).Members,
			Again:   func() runtime.Runtime { return newRuntime(t, in.Policy) },
			Printed: func() string { return docker(t, "logs", spec.ID) },
			Bundle: func(args []string, l runtimetest.Limits) string {
				in.Worker.MemoryBytes = l.Memory
				if l.Pids > 0 {
					in.Policy.Worker.PidsLimit = l.Pids
				}
				return writeBundle(t, in, args)
			},
		}
	})
}

func newRuntime(t *testing.T, p *config.Config) *engineapi.Runtime {
	t.Helper()
	daemon, err := engineapi.New(d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	return engineapi.NewRuntime(daemon, engineapi.Options{RunRoot: p.Node.RunRoot, CgroupRoot: p.Cgroup.Root, CgroupParent: p.Cgroup.Parent})
}

// loadGuest gives Docker an image with the guest, which the test removes.
func loadGuest(t *testing.T) {
	t.Helper()
	root := t.TempDir()
	guest, err := runtimetest.BuildGuest(t.TempDir(), runtimetest.Guest)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "guest"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "guest.tar")
	tar(t, archive, root)
	docker(t, "import", "--change", "ENV PATH=/bin", archive, guestImage)
	t.Cleanup(func() { docker(t, "rmi", guestImage) })
}

// writeBundle writes what the agent would, but for the words that are run and
// the mounts, of which the guest needs none.
func writeBundle(t *testing.T, in ocispec.Input, args []string) string {
	t.Helper()
	name, content, err := engineapi.Form(in)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := content.(engineapi.Configuration)
	if !ok {
		t.Fatalf("form of type %T", content)
	}
	c.Config.Cmd, c.Config.WorkingDir, c.Host.Mounts = append([]string{"guest"}, args...), "/", nil
	if args[0] == runtimetest.NoProgram {
		c.Config.Cmd = args
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(in.Policy.Node.RunRoot, "bundle")
	for _, dir := range []string{bundle, filepath.Dir(c.Host.ContainerIDFile)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bundle, name), text, 0o600); err != nil {
		t.Fatal(fmt.Errorf("write bundle: %w", err))
	}
	return bundle
}

// tar packs a directory.
func tar(t *testing.T, archive, dir string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "tar", "--create", "--file", archive, "--directory", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
}
