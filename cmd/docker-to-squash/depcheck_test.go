package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies checks that docker-to-squash, which runs wherever images
// are built, carries nothing of Kubernetes nor of what touches a node.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const internal = "github.com/stormcell/stormcell/internal/"
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "sigs.k8s.io/") {
			t.Errorf("docker-to-squash depends on %s", dep)
		}
		name, ours := strings.CutPrefix(dep, internal)
		if !ours {
			continue
		}
		switch part, _, _ := strings.Cut(name, "/"); part {
		case "backoff", "message", "store":
		default:
			t.Errorf("docker-to-squash depends on %s", dep)
		}
	}
}
