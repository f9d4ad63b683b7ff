package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies checks that the plugin, which runs on people's machines,
// carries nothing of the daemons, wherever it is built for.
func TestDependencies(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
		list.Env = append(os.Environ(), "GOOS="+system)
		out, err := list.Output()
		if err != nil {
			t.Fatalf("GOOS=%s: %v", system, err)
		}
		const module = "github.com/stormcell/stormcell/"
		for dep := range strings.FieldsSeq(string(out)) {
			name, ours := strings.CutPrefix(dep, module)
			if !ours {
				continue
			}
			switch part, _, _ := strings.Cut(name, "/"); {
			case part == "api", part == "client", strings.HasPrefix(name, "cmd/kubectl-storm"), name == "internal/backoff":
			default:
				t.Errorf("GOOS=%s: kubectl-storm depends on %s", system, dep)
			}
		}
	}
}
