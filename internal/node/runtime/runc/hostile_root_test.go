package runc_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/node/runtime/runc"
)

// TestHostileProbe: a worker tries all that test/hostile has a worker try by itself,
// also in a machine with cgroup v2 alone.
func TestHostileProbe(t *testing.T) {
	c := newCell(t, "", nil)
	c.put("hostile", runc.Hostile)
	c.spec.Command = []string{"/bin/hostile", "probe", "/bin/hostile"}
	code, said := c.run()
	if code != 0 || !regexp.MustCompile(`tried \d{3}`).MatchString(said) {
		t.Errorf("it came to no end: code %d: %s", code, said)
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "ESCAPED") {
			t.Error(line)
		}
	}
}

// put puts a program into the worker's image.
func (c *cell) put(name string, build func() (string, error)) {
	c.t.Helper()
	path, err := build()
	if err != nil {
		c.t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.rootfs, "bin", name), content, 0o755); err != nil {
		c.t.Fatal(err)
	}
}
