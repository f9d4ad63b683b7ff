package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	const program, source = `the image has no program "bash" in its PATH; use an image that has it (`, `bind mount source /x/y is missing on this node; create it or remove it from the configuration (`
	tests := []struct{ name, text, front string }{
		{"runc, no such program", `unable to start container process: exec: "bash": executable file not found in $PATH`, program},
		{"Docker, no such program", `OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "bash": executable file not found in $PATH: unknown`, program},
		{"runc, no such source", `error during container init: error mounting "/x/y" to rootfs at "/x": stat /x/y: no such file or directory`, source},
		{"runc 1.4, no such source", `error during container init: failed to fulfil mount request: open /x/y: no such file or directory`, source},
		{"Docker, no such source", `invalid mount config for type "bind": bind source path does not exist: /x/y`, source},
		{"else", "something", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.text
			if tt.front != "" {
				want = tt.front + tt.text + ")"
			}
			if d := cmp.Diff(want, Explain(tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}
