// Package hostile runs workers that work against their node, alone and with
// others of their kind, and holds stormcell to what docs/security.md says of it.
package hostile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

var s *stack.Stack

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: the node-agent needs root, so run this as root")
		return 0
	}
	var err error
	conf := fmt.Sprintf("stormcell.docker.allowed.images: %q\n", dockerImage)
	if s, err = stack.Start(context.Background(), stack.WithConfiguration(conf, hostileImages...)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err = build(); err == nil {
		err = s.StartAgent()
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	if code != 0 {
		suite.Tail(s.Path("manager.log"))
		suite.Tail(s.Path("node-agent.log"))
	}
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// program is the hostile worker, where every worker sees it.
func program() string { return s.Path("bind", "hostile") }

func build() error {
	c := exec.Command("go", "build", "-o", program(), "./worker")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the hostile worker: %w: %s", err, out)
	}
	return nil
}

// start makes a worker that carries out an attack.
func start(t *testing.T, name string, command func(*api.StormWorkerSpec) []string) *api.StormWorker {
	t.Helper()
	w := suite.Worker(metav1.NamespaceDefault, name, func(spec *api.StormWorkerSpec) {
		spec.Command = append([]string{program()}, command(spec)...)
	})
	suite.Expect(t).Expect(s.Client.Create(t.Context(), w)).To(Succeed())
	t.Cleanup(func() { suite.Remove(t, s.Client, w) })
	return w
}

func artifacts(spec *api.StormWorkerSpec) string {
	return s.Path("artifacts", spec.TopologyID, strconv.Itoa(int(spec.Port)))
}

// logOf returns what a worker's runs have printed.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
	suite.Ready(t, s.Client, w)
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
