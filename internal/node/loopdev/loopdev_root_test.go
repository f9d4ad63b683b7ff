package loopdev

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loop devices")
	}
}

// image returns an open file of 64 KiB and its content.
func image(t testing.TB) (*os.File, []byte) {
	t.Helper()
	content := bytes.Repeat([]byte("squash! "), 8<<10)
	path := filepath.Join(t.TempDir(), "layer.sqsh")
	if err := os.WriteFile(path, content, 0o444); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, content
}

// attachedTo returns the devices that hold the file.
func attachedTo(t testing.TB, f *os.File) []Info {
	t.Helper()
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return slices.DeleteFunc(list, func(i Info) bool { return i.Device != st.Dev || i.Inode != st.Ino })
}

func TestAttach(t *testing.T) {
	needRoot(t)
	for name, attach := range map[string]func(*os.File) (*Device, error){
		"in one step": Attach, "in steps": AttachInSteps,
	} {
		t.Run(name, func(t *testing.T) {
			f, content := image(t)
			d, err := attach(f)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			if got, err := os.ReadFile(d.Path()); err != nil || !bytes.Equal(got, content) {
				t.Errorf("device holds %d bytes (error %v), want the file's %d", len(got), err, len(content))
			}
			if writable(d.Path()) {
				t.Error("device can be written")
			}
			checkListed(t, f, d)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if left := attachedTo(t, f); len(left) != 0 {
				t.Errorf("still attached after Close: %+v", left)
			}
		})
	}
}

func writable(device string) bool {
	w, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer w.Close()
	_, err = w.Write([]byte("x"))
	return err == nil
}

// checkListed checks what List and Lookup say of d, which holds f.
func checkListed(t *testing.T, f *os.File, d *Device) {
	t.Helper()
	list := attachedTo(t, f)
	if len(list) != 1 {
		t.Fatalf("List has %d devices of the file, want 1", len(list))
	}
	got := list[0]
	if got.Path != d.Path() || got.Backing != f.Name() || got.Deleted || !got.ReadOnly || !got.Autoclear {
		t.Errorf("List says %+v", got)
	}
	if same, err := Lookup(got.Number); err != nil || same != got {
		t.Errorf("Lookup says %+v (error %v), List %+v", same, err, got)
	}
}

func TestAttachFallsBack(t *testing.T) {
	needRoot(t)
	f, _ := image(t)
	for _, unknown := range []error{unix.EINVAL, unix.ENOTTY} {
		d, err := attach(f, orInSteps(func(_, _ *os.File) error { return unknown }))
		if err != nil {
			t.Fatalf("kernel that answers %v: %v", unknown, err)
		}
		if got := attachedTo(t, f); len(got) != 1 || !got[0].ReadOnly || !got[0].Autoclear {
			t.Errorf("kernel that answers %v: List says %+v", unknown, got)
		}
		d.Close()
	}
	if d, err := attach(f, orInSteps(func(_, _ *os.File) error { return unix.EACCES })); !errors.Is(err, unix.EACCES) {
		t.Errorf("another error: device %v, error %v, want EACCES", d, err)
	}
}

func TestAttachLosesRaces(t *testing.T) {
	needRoot(t)
	f, _ := image(t)
	for _, lost := range []error{unix.EBUSY, unix.ENXIO} {
		calls := 0
		d, err := attach(f, func(node, backing *os.File) error {
			if calls++; calls < 3 {
				return lost
			}
			return configure(node, backing)
		})
		if err != nil || calls != 3 {
			t.Fatalf("%v: attach: %v after %d calls, want success in the 3rd", lost, err, calls)
		}
		d.Close()
	}
	_, err := attach(f, func(_, _ *os.File) error { return unix.EBUSY })
	if !errors.Is(err, ErrContended) {
		t.Errorf("endless race: %v, want ErrContended", err)
	}
	if left := attachedTo(t, f); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}

func TestAttachSideBySide(t *testing.T) {
	needRoot(t)
	const n = 24
	var group sync.WaitGroup
	devices := make([]*Device, n)
	files := make([]*os.File, n)
	for i := range n {
		files[i], _ = image(t)
		group.Go(func() {
			d, err := Attach(files[i])
			if err != nil {
				t.Errorf("attach: %v", err)
				return
			}
			devices[i] = d
		})
	}
	group.Wait()
	paths := map[string]bool{}
	for i, d := range devices {
		if d == nil {
			continue
		}
		paths[d.Path()] = true
		if got := attachedTo(t, files[i]); len(got) != 1 || got[0].Path != d.Path() {
			t.Errorf("file %d is at %+v, want %s only", i, got, d.Path())
		}
		d.Close()
	}
	if len(paths) != n {
		t.Errorf("%d devices for %d files", len(paths), n)
	}
}

func TestListKnowsDeletedFiles(t *testing.T) {
	needRoot(t)
	f, _ := image(t)
	d, err := Attach(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if got := attachedTo(t, f); len(got) != 1 || !got[0].Deleted || got[0].Backing != f.Name() {
		t.Errorf("List says %+v, want %s deleted", got, f.Name())
	}
}

func TestDetach(t *testing.T) {
	needRoot(t)
	f, _ := image(t)
	// What a process leaves that is killed between the two ioctls.
	d, err := attach(f, func(node, backing *os.File) error {
		return unix.IoctlSetInt(int(node.Fd()), unix.LOOP_SET_FD, int(backing.Fd()))
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if got := attachedTo(t, f); len(got) != 1 || got[0].Autoclear {
		t.Fatalf("List says %+v, want one device without autoclear", got)
	}
	for range 2 {
		if err := Detach(d.Path()); err != nil {
			t.Fatal(err)
		}
	}
	if got := attachedTo(t, f); len(got) != 0 {
		t.Errorf("still attached: %+v", got)
	}
	if err := Detach(filepath.Join(t.TempDir(), "loop0")); err != nil {
		t.Errorf("detach of what is not there: %v", err)
	}
	plain, _ := image(t)
	if err := Detach(plain.Name()); err == nil {
		t.Error("a plain file was taken for a loop device")
	}
}

func TestLookupOfAnotherDevice(t *testing.T) {
	needRoot(t)
	if _, err := Lookup(unix.Mkdev(1, 3)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup of /dev/null: %v, want fs.ErrNotExist", err)
	}
}

func TestOpenNodeMakesMissingNode(t *testing.T) {
	needRoot(t)
	f, _ := image(t)
	d, err := Attach(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	info := attachedTo(t, f)[0]
	var number int
	for number = range 1 << 12 {
		if nodePath(number) == info.Path {
			break
		}
	}
	// Another name for the node, as in a /dev that lacks it.
	path := filepath.Join(t.TempDir(), "loop")
	for range 2 {
		if err := makeNode(number, path); err != nil {
			t.Fatal(err)
		}
	}
	node, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err) // a TempDir with nodev would say EACCES
	}
	defer node.Close()
	status, err := unix.IoctlLoopGetStatus64(int(node.Fd()))
	if err != nil || status.Inode != info.Inode {
		t.Errorf("the node made leads to inode %+v (error %v), want %d", status, err, info.Inode)
	}
}

func BenchmarkAttach(b *testing.B) {
	needRoot(b)
	for _, way := range []struct {
		name   string
		attach func(*os.File) (*Device, error)
	}{{"one-step", Attach}, {"in-steps", AttachInSteps}} {
		b.Run(way.name, func(b *testing.B) {
			f, _ := image(b)
			for b.Loop() {
				d, err := way.attach(f)
				if err != nil {
					b.Fatal(err)
				}
				d.Close()
			}
		})
	}
}
