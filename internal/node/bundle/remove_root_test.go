package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveKeepsOnlyTheArtifacts(t *testing.T) {
	n := newNode(t, nil)
	bundle := n.mustPrepare()
	record := filepath.Join(filepath.Dir(bundle), "record.json")
	must(t, os.WriteFile(record, nil, 0o600))
	for range 2 { // the second time nothing is there
		must(t, n.Remove(t.Context(), spec))
	}
	left := n.tree()
	for _, path := range []string{"/logs/workers-artifacts/wc-1/6703/worker.yaml", "/run/workers/" + spec.ContainerID() + "/record.json"} {
		if left[path] == "" {
			t.Errorf("%s is gone", path)
		}
	}
	for _, path := range []string{bundle, n.paths.Worker, n.paths.UserFile, n.paths.Shared, filepath.Dir(n.paths.Shared)} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
}

// TestDiscard: of a worker that has filled the disk, the artifacts are removed, too, and
// what its topology shares once no other worker of it is there; nothing of others.
func TestDiscard(t *testing.T) {
	n := newNode(t, nil)
	other := spec
	other.ID, other.Port = "2b34db5c-7173-4e19-9bd4-c1af8e46f8dc", 6704
	n.mustPrepare()
	if _, err := n.Prepare(t.Context(), other, emptyImage, "/rootfs"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{n.paths.Shared, n.paths.Artifacts} {
		must(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
	}
	for range 2 { // the second time it is not marked
		must(t, n.Discard(t.Context(), spec))
	}
	left := n.tree()
	for _, path := range []string{n.paths.Artifacts, n.paths.Worker, n.paths.Tmp, n.paths.UserFile} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(n.paths.Shared, "data")); err != nil || left["/logs/workers-artifacts/wc-1/6704/worker.yaml"] == "" {
		t.Errorf("the other worker has lost its files: %v, %v", err, left)
	}
	must(t, os.MkdirAll(n.paths.Artifacts, 0o700)) // of the next worker with that port
	must(t, n.Discard(t.Context(), spec))
	if _, err := os.Lstat(n.paths.Artifacts); err != nil {
		t.Error("removed what was not made for it: ", err)
	}
	must(t, n.Discard(t.Context(), other))
	if _, err := os.Lstat(n.paths.Shared); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left after the last worker (%v)", n.paths.Shared, err)
	}
}

func TestSharedDirectoryStaysForItsOtherWorkers(t *testing.T) {
	n := newNode(t, nil)
	other := spec
	other.ID, other.Port = "2b34db5c-7173-4e19-9bd4-c1af8e46f8dc", 6704
	n.mustPrepare()
	if _, err := n.Prepare(t.Context(), other, emptyImage, "/rootfs"); err != nil {
		t.Fatal(err)
	}
	must(t, n.Remove(t.Context(), spec))
	if _, err := os.Stat(n.paths.Shared); err != nil {
		t.Fatal("the other worker's shared directory: ", err)
	}
	must(t, os.WriteFile(filepath.Join(n.paths.Shared, "data"), nil, 0o600))
	must(t, n.Remove(t.Context(), other))
	if _, err := os.Stat(filepath.Join(n.paths.Shared, "data")); err != nil {
		t.Error("data that a next worker may want: ", err)
	}
}

// A tree that is deeper than the limit on open files and than PATH_MAX.
func TestRemoveDeepTree(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	d, err := openTrusted(filepath.Dir(n.paths.Tmp))
	must(t, err)
	for range 3000 {
		must(t, unix.Mkdirat(d.fd(), "deep", 0o700))
		must(t, os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/file", d.fd()), nil, 0o600))
		next, err := d.open("deep")
		d.close()
		must(t, err)
		d = next
	}
	d.close()
	must(t, os.MkdirAll(filepath.Join(n.paths.Tmp, ".deep-1/x"), 0o700)) // a name that moving up would use
	must(t, n.Remove(t.Context(), spec))
	if _, err := os.Lstat(n.paths.Worker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

func TestRemoveManyFiles(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	for i := range 3 * batch {
		must(t, os.WriteFile(filepath.Join(n.paths.Tmp, strconv.Itoa(i)), nil, 0o600))
	}
	must(t, n.Remove(t.Context(), spec))
	if _, err := os.Lstat(n.paths.Worker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

func TestRemoveEntersNoMount(t *testing.T) {
	n := newNode(t, nil)
	n.mustPrepare()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "keep"), nil, 0o600))
	point := filepath.Join(n.paths.Tmp, "mnt")
	must(t, os.Mkdir(point, 0o700))
	must(t, unix.Mount(outside, point, "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !slices.Contains([]error{unix.EINVAL, unix.ENOENT}, err) {
			t.Error(err)
		}
	})
	if err := n.Remove(t.Context(), spec); !errors.Is(err, ErrMounted) {
		t.Errorf("error = %v, want ErrMounted", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Error(err)
	}
	must(t, unix.Unmount(point, 0))
	must(t, n.Remove(t.Context(), spec))
}
