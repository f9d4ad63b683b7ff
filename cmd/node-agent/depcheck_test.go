package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies checks that the node-agent, which is root, carries nothing
// of what makes images or decides for the cluster, nor the heavy parts of
// Kubernetes' own servers.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for _, no := range []string{
			"github.com/google/cel-go",
			"github.com/google/go-containerregistry",
			"github.com/stormcell/stormcell/controllers",
			"github.com/stormcell/stormcell/internal/connect/gateway",
			"github.com/stormcell/stormcell/internal/store/admin",
			"github.com/stormcell/stormcell/internal/store/convert",
			"github.com/stormcell/stormcell/internal/store/tags",
			"google.golang.org/grpc",
		} {
			if dep == no || strings.HasPrefix(dep, no+"/") {
				t.Errorf("the node-agent depends on %s", dep)
			}
		}
	}
}
