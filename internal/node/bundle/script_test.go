package bundle

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/worker"
)

func TestScriptText(t *testing.T) {
	got, err := script(worker.Spec{
		Env:     []worker.EnvVar{{Name: "A", Value: "b c"}, {Name: "EMPTY"}, {Name: "QUOTE", Value: "it's"}},
		Command: []string{"java", "-Dx=$HOME `id`", "it's"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `#!/bin/bash
export 'A=b c';
export 'EMPTY=';
export 'QUOTE=it'"'"'s';

umask 0027
exec 'java' '-Dx=$HOME ` + "`id`" + `' 'it'"'"'s';
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestScriptRefuses(t *testing.T) {
	tests := []struct {
		name string
		w    worker.Spec
	}{
		{"empty name", worker.Spec{Env: []worker.EnvVar{{Value: "x"}}, Command: []string{"a"}}},
		{"name with equals sign", worker.Spec{Env: []worker.EnvVar{{Name: "A=B"}}, Command: []string{"a"}}},
		{"NUL in a value", worker.Spec{Env: []worker.EnvVar{{Name: "A", Value: "\x00"}}, Command: []string{"a"}}},
		{"NUL in the command", worker.Spec{Command: []string{"a", "b\x00"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := script(tt.w); !errors.Is(err, ErrInvalidText) {
				t.Errorf("got %q, %v", s, err)
			}
		})
	}
}

// run lets the real bash run the worker's script, as the container does.
func run(t *testing.T, w worker.Spec) string {
	t.Helper()
	text, err := script(w)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("bash", path)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, stderr.String(), text)
	}
	return string(out)
}

var awkward = []string{
	"", "'", "''", `"`, `\`, `\'`, "a b", "$(id)", "`id`", "a\nb", "\n", "*", "!x", "-n", "é", "\xff\xfe", "'; rm -rf /; '", "$'\\x41'", "\r", "\t~",
}

func TestScriptSurvivesBash(t *testing.T) {
	command := append([]string{"printf", `%s\0`, "--"}, awkward...)
	want := "--\x00" + strings.Join(awkward, "\x00") + "\x00"
	if d := cmp.Diff(want, run(t, worker.Spec{Command: command})); d != "" {
		t.Error("command words:", d)
	}
	for _, value := range awkward {
		got := run(t, worker.Spec{Env: []worker.EnvVar{{Name: "V", Value: value}}, Command: []string{"printenv", "-0", "V"}})
		if d := cmp.Diff(value+"\x00", got); d != "" {
			t.Errorf("variable %q: %s", value, d)
		}
	}
	if got := run(t, worker.Spec{Command: []string{"bash", "-c", "umask"}}); got != "0027\n" {
		t.Errorf("umask %q", got)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range awkward {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") || len(s) > 100_000 {
			return // no argument of a program can be so
		}
		out, err := exec.Command("bash", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Fatalf("bash reads %q as %q (%v)", s, out, err)
		}
	})
}
