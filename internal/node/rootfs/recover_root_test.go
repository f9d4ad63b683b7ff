package rootfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/loopdev"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func TestRecoverAdoptsTheLiving(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(3)
	dir := n.mount(m, "alive", layers[:2])
	n.mount(m, "dead", layers[1:])
	before := n.mounts()
	live := map[string][]digest.Digest{"alive": digests(layers[:2])}
	m = n.manager(0, live)
	want := slices.DeleteFunc(before, func(p string) bool {
		return p == m.dirs.rootfs("dead") || p == m.dirs.layerMnt(layers[2].Digest)
	})
	if diff := cmp.Diff(want, n.mounts()); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(m.dirs.workersDir()); err != nil || len(entries) != 1 {
		t.Errorf("owners: %v (error %v), want alive only", entries, err)
	}
	if got := contents(t, dir); got["files/layer-0"] == "" || got["files/layer-1"] == "" {
		t.Errorf("adopted root file system holds %v", got)
	}
	if again := n.mount(m, "alive", layers[:2]); again != dir {
		t.Errorf("Mount after adoption returns %s, want %s", again, dir)
	}
	if diff := cmp.Diff(want, n.mounts()); diff != "" {
		t.Errorf("Mount after adoption changed the mounts:\n%s", diff)
	}
	// The adopted owner keeps its layers from the reaper.
	n.mount(m, "other", layers[1:2])
	n.unmount(m, "other")
	if diff := cmp.Diff(want, n.mounts()); diff != "" {
		t.Errorf("after another owner has left:\n%s", diff)
	}
	n.unmount(m, "alive")
	n.wantNothing()
}

func TestRecoverAfterReboot(t *testing.T) {
	n := newNode(t)
	m := n.manager(0, nil)
	layers := n.layers(2)
	n.mount(m, "w", layers)
	record := m.dirs.owner("w") + "/record.json"
	if err := os.WriteFile(record, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A reboot takes the mounts; a run root on a disk keeps its directories.
	points := n.mounts()
	for _, p := range slices.Backward(points) {
		if err := unix.Unmount(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	m = n.manager(0, map[string][]digest.Digest{"w": digests(layers)})
	if entries, err := os.ReadDir(m.dirs.owner("w")); err != nil || len(entries) != 1 {
		t.Errorf("left of the owner: %v (error %v), want record.json only", entries, err)
	}
	if got := contents(t, n.mount(m, "w", layers)); got["who"] != "layer-1" {
		t.Errorf("mounted anew it holds %v", got)
	}
	n.unmount(m, "w")
	if err := errors.Join(os.Remove(record), os.Remove(m.dirs.owner("w"))); err != nil {
		t.Fatal(err)
	}
	n.wantNothing()
}

// TestRecoverAfterDeathInMount ends Mount at each step as a kill does: nothing
// is undone, and the kernel closes the files.
func TestRecoverAfterDeathInMount(t *testing.T) {
	n := newNode(t)
	layers := n.layers(2)
	die := runtime.Goexit
	attachThen := func(at int, do func(*os.File)) func(m *Manager) {
		return func(m *Manager) {
			calls := 0
			m.attach = func(f *os.File) (*loopdev.Device, error) {
				if calls++; calls == at {
					do(f)
				}
				return loopdev.Attach(f)
			}
		}
	}
	for name, kill := range map[string]func(m *Manager){
		"before the first layer":  attachThen(1, func(*os.File) { die() }),
		"before the second layer": attachThen(2, func(*os.File) { die() }),
		"with a device attached": attachThen(2, func(f *os.File) {
			d, err := loopdev.Attach(f)
			if err != nil {
				t.Error(err)
			}
			d.Close()
			die()
		}),
		"between the two ioctls": attachThen(2, func(f *os.File) { halfAttach(t, f); die() }),
		"before the overlay":     func(m *Manager) { m.overlay = func(Overlay) error { die(); return nil } },
		"after the overlay": func(m *Manager) {
			m.overlay = func(o Overlay) error {
				if err := mountOverlay(o); err != nil {
					t.Error(err)
				}
				die()
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := n.manager(0, nil)
			kill(m)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err := m.Mount(t.Context(), "w", layers)
				t.Errorf("Mount returned (error %v) instead of dying", err)
			}()
			<-done
			if entries, _ := os.ReadDir(n.run + "/layers"); len(entries) == 0 {
				t.Error("it died before anything was there")
			}
			n.manager(0, nil)
			n.wantNothing()
		})
	}
}

// halfAttach leaves a device with f but without autoclear.
func halfAttach(t *testing.T, f *os.File) {
	t.Helper()
	d, err := loopdev.AttachInSteps(f)
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	node, err := os.Open(d.Path())
	if err != nil {
		t.Error(err)
		return
	}
	defer node.Close()
	if err := unix.IoctlLoopSetStatus64(int(node.Fd()), &unix.LoopInfo64{}); err != nil {
		t.Error(err)
	}
}

func TestRecoverAfterDeathInUnmount(t *testing.T) {
	n := newNode(t)
	layers := n.layers(2)
	steps := []func(d layout) error{
		func(d layout) error { return unix.Unmount(d.rootfs("w"), 0) },
		func(d layout) error { return os.Remove(d.rootfs("w")) },
		func(d layout) error { return os.RemoveAll(d.upper("w")) },
		func(d layout) error { return os.RemoveAll(d.work("w")) },
		func(d layout) error { return os.Remove(d.owner("w")) },
		func(d layout) error { return unix.Unmount(d.layerMnt(layers[0].Digest), 0) },
		func(d layout) error { return os.Remove(d.layerMnt(layers[0].Digest)) },
	}
	for last := range steps {
		m := n.manager(0, nil)
		n.mount(m, "w", layers)
		for i, step := range steps[:last+1] {
			if err := step(m.dirs); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		n.manager(0, nil)
		n.wantNothing()
		// The same, but the process lives and is asked again.
		m = n.manager(0, nil)
		n.mount(m, "w", layers)
		for i, step := range steps[:last+1] {
			if err := step(m.dirs); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		n.unmount(m, "w")
		n.wantNothing()
	}
}

// TestRecoverAfterKills kills a real process that mounts and unmounts all the
// time, at random moments.
func TestRecoverAfterKills(t *testing.T) {
	n := newNode(t)
	layers := n.layers(3)
	var files []string
	for _, l := range layers {
		files = append(files, l.Digest.String()+"="+l.Path)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	leftovers := 0
	for range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRestlessProcess$")
		cmd.Env = append(os.Environ(), "RESTLESS_RUN="+n.run, "RESTLESS_LAYERS="+strings.Join(files, ","))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it has begun
			t.Errorf("child: %v", err)
		}
		<-time.After(time.Duration(random.IntN(30_000)) * time.Microsecond) // the moment of the kill is the test's input
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("child ended by itself")
		}
		if len(n.mounts()) > 0 {
			leftovers++
		}
		n.manager(0, nil)
		n.wantNothing()
	}
	if leftovers == 0 {
		t.Error("no kill hit a mount: the test shows nothing")
	}
	t.Logf("%d of 40 kills left mounts behind, all were recovered", leftovers)
}

// TestRestlessProcess is the process that TestRecoverAfterKills kills.
func TestRestlessProcess(t *testing.T) {
	run := os.Getenv("RESTLESS_RUN")
	if run == "" {
		return // not a test by itself
	}
	var layers []manifest.LocalLayer
	for pair := range strings.SplitSeq(os.Getenv("RESTLESS_LAYERS"), ",") {
		d, path, _ := strings.Cut(pair, "=")
		layers = append(layers, manifest.LocalLayer{Digest: digest.Digest(d), Path: path})
	}
	m := New(Options{RunRoot: run, LayersDir: filepath.Dir(layers[0].Path)})
	if err := m.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	fmt.Println("begun")
	for i := 0; ; i++ {
		m.attach = loopdev.Attach
		if i%2 == 1 {
			m.attach = loopdev.AttachInSteps
		}
		if _, err := m.Mount(t.Context(), "w", layers); err != nil {
			t.Fatal(err)
		}
		if err := m.Unmount(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecoverDetachesTheBusy(t *testing.T) {
	n := newNode(t)
	dir := n.mount(n.manager(0, nil), "dead", n.layers(1))
	f, err := os.Open(dir + "/who")
	if err != nil {
		t.Fatal(err)
	}
	m := New(Options{RunRoot: n.run, LayersDir: n.cache})
	m.wait = func(context.Context, time.Duration) error { return nil }
	if err := m.Recover(t.Context(), nil); err != nil {
		t.Errorf("recover: %v", err)
	}
	if left := n.mounts(); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
	f.Close()
	n.wantNothing()
}

func TestRecoverThroughALink(t *testing.T) {
	n := newNode(t)
	link := t.TempDir() + "/link"
	if err := os.Symlink(n.run, link); err != nil {
		t.Fatal(err)
	}
	n.mount(n.manager(0, nil), "dead", n.layers(1))
	m := New(Options{RunRoot: link, LayersDir: n.cache})
	if err := m.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	n.wantNothing()
}

func TestRecoverRefusesARunRootOfOthers(t *testing.T) {
	n := newNode(t)
	for name, prepare := range map[string]func(dir string) error{
		"another owner":        func(dir string) error { return os.Chown(dir, 65534, 0) },
		"writable for others":  func(dir string) error { return os.Chmod(dir, 0o777) },
		"writable for a group": func(dir string) error { return os.Chmod(dir, 0o770) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			err := New(Options{RunRoot: dir}).Recover(n.Context(), nil)
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want ErrUntrusted with the path", err)
			}
		})
	}
}

func TestRecoverLeavesOtherLoopDevices(t *testing.T) {
	n := newNode(t)
	ours := n.layer("ours", tree{"a": "a"})
	path := t.TempDir() + "/theirs"
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	var numbers []uint64
	for _, p := range []string{ours.Path, path} {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		halfAttach(t, f)
		f.Close()
	}
	list, err := loopdev.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Backing == path {
			numbers = append(numbers, d.Number)
			t.Cleanup(func() { _ = loopdev.Detach(d.Path) })
		}
	}
	n.manager(0, nil)
	n.wantNothing()
	if len(numbers) != 1 {
		t.Fatalf("%d devices of the other file", len(numbers))
	}
	if _, err := loopdev.Lookup(numbers[0]); err != nil {
		t.Errorf("the device of another's file is gone: %v", err)
	}
}
