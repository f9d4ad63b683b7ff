package imports

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// command is a program and what it must not carry, by whatever way.
type command struct {
	name string
	list

	// others are systems besides linux that it is built for.
	others []string

	// broken are packages that the list must refuse.
	broken []string
}

var commands = []command{
	{
		// It has no root: nothing of it touches a host or makes an image.
		name: "manager",
		list: list{
			deny: []string{
				module + "/internal", module + "/internal/connect/node",
				module + "/internal/store/admin", module + "/internal/store/convert", module + "/internal/store/squashfs",
			},
			allow: []string{
				module + "/internal/backoff", module + "/internal/config", module + "/internal/connect",
				module + "/internal/kube", module + "/internal/listen", module + "/internal/message", module + "/internal/store", module + "/internal/trust",
			},
		},
		broken: []string{
			module + "/internal/node/worker", module + "/internal/connect/node",
			module + "/internal/store/admin", module + "/internal/store/convert/source", module + "/internal/store/squashfs",
		},
	},
	{
		// It has root: nothing of it makes images or decides for the cluster, nor
		// is there a heavy part of Kubernetes' own servers.
		name: "node-agent",
		list: list{deny: []string{
			"github.com/google/cel-go", "github.com/google/go-containerregistry", "google.golang.org/grpc",
			module + "/controllers", module + "/internal/connect/gateway",
			module + "/internal/store/admin", module + "/internal/store/convert", module + "/internal/store/tags",
		}},
		broken: []string{
			"github.com/google/cel-go/cel", "github.com/google/go-containerregistry/pkg/v1", "google.golang.org/grpc",
			module + "/controllers", module + "/internal/connect/gateway",
			module + "/internal/store/admin", module + "/internal/store/convert", module + "/internal/store/tags",
		},
	},
	{
		// It runs wherever images are built: nothing of it knows Kubernetes or touches a node.
		name: "docker-to-squash",
		list: list{
			deny:  []string{"k8s.io", "sigs.k8s.io", module + "/internal", module + "/internal/store/tags"},
			allow: []string{module + "/internal/backoff", module + "/internal/message", module + "/internal/store"},
		},
		broken: []string{"k8s.io/api/core/v1", "sigs.k8s.io/yaml", module + "/internal/config", module + "/internal/store/tags"},
	},
	{
		// It runs on people's machines: nothing of it is of the daemons.
		name:   "kubectl-storm",
		others: []string{"darwin", "windows"},
		list: list{
			deny:  []string{module},
			allow: []string{module + "/api", module + "/client", module + "/cmd/kubectl-storm", module + "/internal/backoff"},
		},
		broken: []string{module + "/cmd/internal/daemon", module + "/internal/config", module + "/internal/store"},
	},
}

// carried returns every package that a command is made of on a system.
func carried(t *testing.T, name, system string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/"+name)
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS="+system)
	list.Stderr = t.Output()
	out, err := list.Output()
	if err != nil {
		t.Fatalf("GOOS=%s: %v", system, err)
	}
	return strings.Fields(string(out))
}

func TestCommandsCarryNoMoreThanTheyNeed(t *testing.T) {
	// The output of "go list" depends on all of these files, which the test's
	// cache knows by this.
	imports(t)
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			for _, system := range append([]string{"linux"}, c.others...) {
				for _, pkg := range carried(t, c.name, system) {
					if c.refuses(pkg) {
						t.Errorf("GOOS=%s: %s depends on %s", system, c.name, pkg)
					}
				}
			}
			for _, pkg := range c.broken {
				if !c.refuses(pkg) {
					t.Errorf("%s may depend on %s", c.name, pkg)
				}
			}
		})
	}
}

// TestEveryCommandIsChecked finds a command that was added without a list.
func TestEveryCommandIsChecked(t *testing.T) {
	known := map[string]bool{"internal": true}
	for _, c := range commands {
		known[c.name] = true
	}
	entries, err := os.ReadDir(root + "/cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			t.Errorf("cmd/%s has no list of what it must not carry", e.Name())
		}
	}
}
