package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPutFileFollowsNothing: a worker may have put a link at the name, or in
// the place of its own directory.
func TestPutFileFollowsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files to root")
	}
	base := t.TempDir()
	secret := filepath.Join(base, "secret")
	if err := os.WriteFile(secret, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "workers", "w")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "container.cid")
	if err := os.Symlink(secret, file); err != nil {
		t.Fatal(err)
	}
	if err := PutFile(file, []byte("id")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
		t.Errorf("it is %v, %v", info, err)
	}
	if err := os.Symlink(dir, filepath.Join(base, "workers", "link")); err != nil {
		t.Fatal(err)
	}
	if err := PutFile(filepath.Join(base, "workers", "link", "x"), nil); err == nil {
		t.Error("written through a link in the place of the worker's directory")
	}
	if content, err := os.ReadFile(secret); err != nil || string(content) != "kept" {
		t.Errorf("the link's target has %q, %v", content, err)
	}
}
