// Package integration runs stormcell whole on this machine, with real parts only, and
// looks at what a user sees and at what the kernel says.
package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	conf := fmt.Sprintf("stormcell.docker.allowed.images: [%q]\n", dockerImage)
	if s, err = stack.Start(context.Background(), stack.WithConfiguration(conf, jdkImage)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err := s.StartAgent(); err == nil {
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

// patience is how long a test waits for what must come.
const patience = suite.Patience

const forever = suite.Forever

func expect(t *testing.T) *WithT { t.Helper(); return suite.Expect(t) }

func shell(script string) []string { return suite.Shell(script) }

func aWorker(name string, change ...func(*api.StormWorkerSpec)) *api.StormWorker {
	return suite.Worker(metav1.NamespaceDefault, name, change...)
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

// logOf returns what a worker's runs have printed.
func logOf(t *testing.T, w *api.StormWorker) string {
	t.Helper()
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

func processRuns(pid int64) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
