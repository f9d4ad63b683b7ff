package seccomp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParse(t *testing.T) {
	tests := []struct{ name, content, says string }{
		{"plain", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, ""},
		{"comment lines in front, as Storm's example", "# License\n#\n  # more\n\n{\"defaultAction\":\"SCMP_ACT_ALLOW\"}\n", ""},
		{"comment inside", "{\"defaultAction\":\n# no\n\"SCMP_ACT_ALLOW\"}", "invalid character"},
		{"comments only", "# nothing\n#", "EOF"},
		{"empty", "", "EOF"},
		{"cut off", `{"defaultAction":"SCMP_ACT_ERRNO",`, "unexpected EOF"},
		{"two objects", `{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "follows"},
		{"no default", `{}`, `unknown defaultAction ""`},
		{"unknown action", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"ALLOW"}]}`, `(read, …): unknown action "ALLOW"`},
		{"notify", `{"defaultAction":"SCMP_ACT_NOTIFY"}`, "unknown defaultAction"},
		{"listener", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`, "listenerPath"},
		{"no names", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`, "no names"},
		{"unknown op", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"EQ"}]}]}`, `unknown op "EQ"`},
		{"seventh argument", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}`, "no argument 6"},
		{"docker's dialect", `{"defaultAction":"SCMP_ACT_ERRNO","archMap":[]}`, `unknown field "archMap"`},
		{"too long", strings.Repeat(" ", MaxSize) + "{}", "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.content))
			switch {
			case tt.says == "" && (err != nil || p == nil):
				t.Fatalf("got %v, %v", p, err)
			case tt.says != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says)):
				t.Fatalf("error = %v, want ErrInvalid with %q", err, tt.says)
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: error = %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), path) {
		t.Errorf("bad file: error = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# c\n{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := Parse(content)
		if err == nil && p.DefaultAction == specs.ActNotify {
			t.Fatalf("accepted %q", content)
		}
	})
}
