// Package docker runs stormcell whole with workers in Docker's containers: a
// real dockerd, and a registry that asks for passwords, on this machine.
package docker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	// imageName is a small image in the registry, otherHost the same by a name
	// of the registry for which the node has no credentials.
	imageName, otherHost string
)

// The registry's only account. The hash is bcrypt's of the password.
const (
	account, password = "storm", "correct horse"
	passwordHash      = "$2a$05$uItKcq8iFJYmADUkh0lWx.AVO51KWn0bvmigFWK5vSpFUoMTcY0qe"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: dockerd and the node-agent need root, so run this as root")
		return 0
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("/var/lib", "stormcell-docker-")
	if err == nil {
		err = start(ctx, dir)
	}
	code = 1
	if err == nil {
		code = m.Run()
	}
	if code != 0 && s != nil {
		suite.Tail(s.Path("manager.log"))
		suite.Tail(s.Path("node-agent.log"))
	}
	err = errors.Join(err, stop(ctx), os.RemoveAll(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// start starts all, with the node-agent.
func start(ctx context.Context, dir string) (err error) {
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(account+":"+passwordHash+"\n"), 0o600); err != nil {
		return err
	}
	if d, err = dockerd.Start(ctx, dir); err != nil {
		return err
	}
	if err := fillRegistry(ctx); err != nil {
		return err
	}
	credentials := filepath.Join(dir, "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte(account + ":" + password))
	if err := os.WriteFile(credentials, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, d.Registry, auth), 0o600); err != nil {
		return err
	}
	images := strings.Join([]string{imageName, otherHost, d.Registry + "/storm/absent:latest", d.Registry + "/" + jdkImage, nowhere}, `", "`)
	lines := fmt.Sprintf(`stormcell.docker.enable: true
stormcell.docker.allowed.images: ["%s"]
stormcell.docker.host: unix://%s
stormcell.docker.config: %s
storm.resource.isolation.plugin: org.apache.storm.container.docker.DockerManager
`, images, d.Socket(), credentials)
	if s, err = stack.Start(ctx, stack.WithConfiguration(lines)); err != nil {
		return err
	}
	return s.StartAgent()
}

// jdkImage is an image with a JDK, which a test pushes.
const jdkImage = "storm/jdk:latest"

// nowhere is an image of a registry that does not run.
const nowhere = "127.0.0.1:9/storm/test:latest"

func fillRegistry(ctx context.Context) error {
	archive := filepath.Join(d.Dir, "image.tar")
	if err := image.Write(archive, stack.Image); err != nil {
		return err
	}
	if _, err := d.Run(ctx, "login", "--username", account, "--password", password, d.Registry); err != nil {
		return err
	}
	var err error
	imageName, err = d.Push(ctx, archive, stack.Image)
	otherHost = strings.Replace(imageName, "127.0.0.1", "localhost", 1)
	return err
}

func stop(ctx context.Context) (err error) {
	if s != nil {
		err = s.Stop()
	}
	if d != nil {
		err = errors.Join(err, d.Stop(ctx))
	}
	return err
}

const forever = suite.Forever

func expect(t *testing.T) *WithT { t.Helper(); return suite.Expect(t) }

func shell(script string) []string { return suite.Shell(script) }

// aWorker has an image of the registry. The cluster's default runtime is Docker.
func aWorker(name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	image := func(w *api.StormWorkerSpec) { w.Image = imageName }
	return suite.Worker(metav1.NamespaceDefault, name, append([]func(*api.StormWorkerSpec){image}, change...)...)
}

// apply creates a worker that is deleted at the end of the test.
func apply(t *testing.T, w *api.StormWorker) *api.StormWorker {
	t.Helper()
	if err := s.Client.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, w) })
	return w
}

func remove(t *testing.T, w *api.StormWorker) { t.Helper(); suite.Remove(t, s.Client, w) }

func ready(t *testing.T, w *api.StormWorker) metav1.Condition {
	t.Helper()
	return suite.Ready(t, s.Client, w)
}

func waitFor(t *testing.T, w *api.StormWorker, reason string) metav1.Condition {
	t.Helper()
	return suite.WaitFor(t, s.Client, w, reason)
}

// docker runs Docker's client.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.Run(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logOf is what Docker has of a worker's output.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	out, err := d.Run(t.Context(), "logs", w.ID())
	if err != nil {
		return err.Error()
	}
	return out
}

// nothingLeft checks that there is nothing of workers, here or in Docker.
func nothingLeft(t *testing.T) {
	t.Helper()
	g := expect(t)
	g.Expect(s.Leftovers()).To(BeEmpty())
	g.Expect(docker(t, "ps", "--all", "--quiet")).To(BeEmpty(), "containers")
	g.Expect(docker(t, "volume", "ls", "--quiet")).To(BeEmpty(), "volumes")
}
