package diskusage

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDeletedFiles: a file that has no name any more counts once while a process of the
// worker has it open or mapped, and a file in memory does not count.
func TestDeletedFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to see what is mapped")
	}
	dir := t.TempDir()
	places := []Place{{"it", dir}}
	pids := map[int]bool{os.Getpid(): true, 1 << 30: true}
	measured := func() Report {
		t.Helper()
		r, err := measure(t.Context(), unpaced(), wide, places, pids)
		check(t, err)
		return r
	}
	before := measured()

	f, err := os.OpenFile(filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	defer f.Close()
	_, err = f.Write(make([]byte, 4<<20))
	check(t, err)
	want := blocks(t, f.Name())
	second, err := unix.Dup(int(f.Fd()))
	check(t, err)
	memory, err := unix.MemfdCreate("memory", 0)
	check(t, err)
	defer unix.Close(memory)
	check(t, unix.Ftruncate(memory, 1<<20))
	if r := measured(); r.Bytes != before.Bytes+want {
		t.Errorf("with its name: %+v, want %d more than %+v", r, want, before)
	}
	check(t, os.Remove(f.Name()))
	if r := measured(); r.Bytes != before.Bytes+want || r.Inodes != before.Inodes+1 {
		t.Errorf("deleted, two descriptors: %+v, want %d more than %+v", r, want, before)
	}

	data, err := unix.Mmap(second, 0, 4<<20, unix.PROT_READ, unix.MAP_SHARED)
	check(t, err)
	check(t, unix.Close(second))
	check(t, f.Close())
	if r := measured(); r.Bytes != before.Bytes+want {
		t.Errorf("deleted and mapped: %+v, want %d more than %+v", r, want, before)
	}
	check(t, unix.Munmap(data))
	if r := measured(); r.Bytes != before.Bytes {
		t.Errorf("closed: %+v, want %+v", r, before)
	}
}
