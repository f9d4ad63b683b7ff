package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies checks that the manager, which has no root, carries nothing
// of what touches a host.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const internal = "github.com/stormcell/stormcell/internal/"
	for dep := range strings.FieldsSeq(string(out)) {
		name, ours := strings.CutPrefix(dep, internal)
		if !ours {
			continue
		}
		if name == "connect/node" {
			t.Error("the manager depends on the node-agent's side of connect")
		}
		switch part, _, _ := strings.Cut(name, "/"); part {
		case "backoff", "config", "connect", "kube", "message", "store", "trust":
		default:
			t.Errorf("the manager depends on %s", dep)
		}
	}
}
