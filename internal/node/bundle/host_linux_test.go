package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/config"
)

func TestSwapAccounting(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  bool
	}{
		{"version 2", []string{"cgroup.controllers", "memory.stat", "system.slice/memory.swap.max"}, true},
		{"version 2, any group tells", []string{"cgroup.controllers", "init.scope/cgroup.procs", "storm/memory.swap.max"}, true},
		{"version 2 without", []string{"cgroup.controllers", "system.slice/memory.max"}, false},
		{"version 1", []string{"memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"}, true},
		{"version 1 without", []string{"memory/memory.limit_in_bytes"}, false},
		{"version 1 with an empty tree of version 2", []string{"memory/memory.limit_in_bytes", "unified/cgroup.controllers"}, false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for _, f := range tt.files {
				path := filepath.Join(root, f)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := swapAccounting(config.Cgroup{Root: root, Parent: "/storm"}); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
