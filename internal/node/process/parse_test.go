package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	after := strings.Repeat(" 1", 18)
	tests := []struct {
		name, stat string
		want       uint64
		fails      bool
	}{
		{"plain", "42 (java) S" + after + " 4711 9 9", 4711, false},
		{"a name that looks like the rest", "42 (a) S 1 1 (b) c) R" + after + " 4711 9", 4711, false},
		{"cut off", "42 (java) S" + after, 0, true},
		{"no name", "42", 0, true},
		{"negative", "42 (java) S" + after + " -5 1", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.stat, startField)
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

func TestUninterruptible(t *testing.T) {
	for name, tt := range map[string]struct {
		stat, wchan, want string
	}{
		"in the kernel":             {"47 (dd) D 1 47", "percpu_rwsem_wait", `pid 47 "dd" in percpu_rwsem_wait`},
		"asleep":                    {"47 (dd) S 1 47", "pipe_read", ""},
		"a name that looks like it": {"47 (a) D (b) S 1 47", "pipe_read", ""},
		"a name with brackets":      {"47 (a) S (b) D 1 47", "io_schedule", `pid 47 "a) S (b" in io_schedule`},
		"waits for the others":      {"47 (bash) D 1 47", "zap_pid_ns_processes", ""},
		"ended meanwhile":           {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"stat": tt.stat, "wchan": tt.wchan} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, ok := Uninterruptible(dir); got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

// FuzzParseStat: a worker chooses the name of its program, and nothing else of the line.
func FuzzParseStat(f *testing.F) {
	for _, name := range []string{"java", "a) R 1 1 (b", ")", "\n", "42 (java) S 1 1 1 1 1 4"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		line := "42 (" + name + ") D 1 2 3 4 5 4194564" + strings.Repeat(" 9", 12) + " 4711 1 1"
		for field, want := range map[int]uint64{flagsField: 4194564, startField: 4711} {
			if got, err := parseStat(line, field); got != want || err != nil {
				t.Errorf("field %d of %q is %d, %v, want %d", field, line, got, err, want)
			}
		}
	})
}
