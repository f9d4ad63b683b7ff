// Package hostile runs workers that work against their node, alone and with
// others of their kind, and holds stormcell to what docs/security.md says of it.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/dockerd"
	"github.com/stormcell/stormcell/test/image"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

var (
	s *stack.Stack
	d *dockerd.Docker
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the node-agent needs root, so run this as root")
		return 0
	}
	dir, err := os.MkdirTemp("/var/lib", "stormcell-hostile-")
	if err == nil {
		err = begin(context.Background(), dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	if code != 0 && s != nil {
		suite.Tail(s.Path("manager.log"))
		suite.Tail(s.Path("node-agent.log"))
	}
	if err = errors.Join(err, end(context.Background()), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// dockerImage is the full name of the image that Docker has.
const dockerImage = "docker.io/" + stack.Image

// begin starts a Docker that has the image, and a stack with both runtimes.
func begin(ctx context.Context, dir string) (err error) {
	if d, err = dockerd.Start(ctx, dir); err != nil {
		return err
	}
	archive := filepath.Join(dir, "image.tar")
	if err := image.Write(archive, stack.Image); err != nil {
		return err
	}
	if _, err := d.Run(ctx, "load", "--input", archive); err != nil {
		return err
	}
	conf := fmt.Sprintf("stormcell.docker.enable: true\nstormcell.docker.host: unix://%s\nstormcell.docker.pull.policy: Never\nstormcell.docker.allowed.images: [%q]\n",
		d.Socket(), dockerImage)
	if s, err = stack.Start(ctx, stack.WithConfiguration(conf, hostileImages...)); err != nil {
		return err
	}
	if err := s.BuildHostile(ctx); err != nil {
		return err
	}
	return s.StartAgent()
}

func end(ctx context.Context) (err error) {
	if s != nil {
		err = s.Stop()
	}
	if d != nil {
		err = errors.Join(err, d.Stop(ctx))
	}
	return err
}

// inEach runs an attack in each runtime.
func inEach(t *testing.T, attack func(t *testing.T, in api.Runtime)) {
	t.Helper()
	for _, in := range []api.Runtime{api.RuntimeRunc, api.RuntimeDocker} {
		t.Run(string(in), func(t *testing.T) { attack(t, in) })
	}
}

// start makes a worker that carries out an attack, in a runtime.
func start(t *testing.T, in api.Runtime, name string, command func(*api.StormWorkerSpec) []string) *api.StormWorker {
	t.Helper()
	w := suite.Worker(metav1.NamespaceDefault, name+"-"+strings.ToLower(string(in)), func(spec *api.StormWorkerSpec) {
		if spec.Runtime = in; in == api.RuntimeDocker {
			spec.Image = dockerImage
		}
		spec.Command = append([]string{s.Hostile()}, command(spec)...)
	})
	suite.Expect(t).Expect(s.Client.Create(t.Context(), w)).To(Succeed())
	t.Cleanup(func() { suite.Remove(t, s.Client, w) })
	return w
}

func artifacts(spec *api.StormWorkerSpec) string {
	return s.Path("artifacts", spec.TopologyID, strconv.Itoa(int(spec.Port)))
}

// logOf returns what a worker's runs have printed, in Docker its last run.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	suite.Ready(t, s.Client, w)
	if w.Status.Runtime == api.RuntimeDocker {
		out, err := d.Run(t.Context(), "logs", w.ID())
		if err != nil {
			return err.Error()
		}
		return out
	}
	files, err := filepath.Glob(s.Path("log", w.ContainerID(), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}
