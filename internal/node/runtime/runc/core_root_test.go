package runc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestCoresAreNotPiped: a worker that crashes does not start the host's handler of cores,
// which is root, also if it has tried to lower its limit to 0, which would.
func TestCoresAreNotPiped(t *testing.T) {
	if os.Getenv("STORMCELL_TEST_VM") == "" {
		t.Skip("core_pattern is the whole machine's: see make test-vm")
	}
	const pattern = "/proc/sys/kernel/core_pattern"
	before, err := os.ReadFile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	const crash = `ulimit -Sc 0; kill -SEGV $$`
	// Not the first process of the container, which such a signal does not reach.
	c := newCell(t, `bash -c '`+crash+`'; exit $?`, nil)
	cores := t.TempDir()
	t.Cleanup(func() { _ = os.WriteFile(pattern, before, 0) })
	if err := os.WriteFile(pattern, []byte("|/usr/bin/busybox mkdir "+cores+"/%e"), 0); err != nil {
		t.Fatal(err)
	}
	code, said := c.run()
	if code != 128+11 {
		t.Errorf("code %d: %s", code, said)
	}
	// A process of the host that does the same has its core piped, so the handler works.
	witness := filepath.Join(t.TempDir(), "witness")
	if err := os.Symlink("/usr/bin/bash", witness); err != nil {
		t.Fatal(err)
	}
	_ = exec.CommandContext(t.Context(), witness, "-c", crash).Run() // it crashes
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		found, err := os.ReadDir(cores)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 1 && found[0].Name() == "witness" {
			return
		}
		if len(found) > 1 || time.Now().After(deadline) {
			t.Fatalf("handled: %v, want that of the witness alone", found)
		}
	}
}
