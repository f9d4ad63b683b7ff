package localdir_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/storetest"
)

// childRoot names the store that this test binary counts in, or begins an
// upload in, when it runs as a child of a test.
const childRoot = "STORMCELL_TEST_STORE"

const childRounds = 20

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		os.Exit(count(localdir.New(root)))
	}
	os.Exit(m.Run())
}

func count(s *localdir.Store) int {
	for range childRounds {
		if err := storetest.Increment(context.Background(), s, manifest.TagFile); err != nil {
			os.Stderr.WriteString(err.Error())
			return 1
		}
	}
	return 0
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Writer {
		return localdir.New(filepath.Join(t.TempDir(), "a", "store"))
	})
}

func newStore(t *testing.T) (*localdir.Store, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "store")
	s := localdir.New(root)
	if err := s.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, root
}

func TestURLRoundTrip(t *testing.T) {
	for _, root := range []string{"/srv/containers", "/srv/with space", "/srv/100%", "/srv/a#b?c"} {
		a, err := store.ParseAddress(localdir.New(root).URL())
		if err != nil || a.Path != root {
			t.Errorf("%s became %+v, %v", root, a, err)
		}
	}
}

// The store's folder may have been written by somebody else.
func TestHostileEntries(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		make func(path string) error
		want error // nil: any error
	}{
		{"absolute link out of the store", func(p string) error { return os.Symlink(secret, p) }, nil},
		{"relative link out of the store", func(p string) error { return os.Symlink("../../../secret", p) }, nil},
		{"link to itself", func(p string) error { return os.Symlink(filepath.Base(p), p) }, unix.ELOOP},
		{"fifo", func(p string) error { return unix.Mkfifo(p, 0o644) }, store.ErrNotFile},
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, store.ErrNotFile},
		{"device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }, store.ErrNotFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "device" && os.Geteuid() != 0 {
				t.Skip("needs root: makes a device node")
			}
			s, root := newStore(t)
			const name = "layers/x.sqsh"
			if err := c.make(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			_, readErr := s.ReadFile(t.Context(), name, 100)
			_, statErr := s.Stat(t.Context(), name)
			_, openErr := s.Open(t.Context(), name)
			for what, err := range map[string]error{"read": readErr, "stat": statErr, "open": openErr} {
				if err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
				if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s: %v hides what is wrong", what, err)
				}
			}
			if names, err := s.List(t.Context(), "layers"); err != nil || len(names) > 0 {
				t.Errorf("listed %v, %v", names, err)
			}
		})
	}
}

func TestLinksInsideAreFollowed(t *testing.T) {
	s, root := newStore(t)
	if err := os.WriteFile(filepath.Join(root, "layers/real"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(root, "layers/link")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ReadFile(t.Context(), "layers/link", 10); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// A link in the place of a file is replaced, not followed.
func TestCreateReplacesALink(t *testing.T) {
	s, root := newStore(t)
	victim := filepath.Join(root, "victim")
	if err := os.WriteFile(victim, []byte("keep"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../victim", filepath.Join(root, "layers/x")); err != nil {
		t.Fatal(err)
	}
	up, err := s.Create(t.Context(), "layers/x", store.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := up.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "keep" {
		t.Errorf("the link's target has %q, %v", got, err)
	}
}

func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]string{"nothing there": filepath.Join(dir, "none"), "a file": plain} {
		t.Run(name, func(t *testing.T) {
			_, err := localdir.New(root).ReadFile(t.Context(), manifest.TagFile, 10)
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, want %v", err, store.ErrUnavailable)
			}
		})
	}
	if err := localdir.New(plain).Bootstrap(t.Context()); err == nil {
		t.Error("a file was bootstrapped")
	}
}

func TestBootstrapOverAFile(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, manifest.LayersDir), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := localdir.New(root).Bootstrap(t.Context())
	if err == nil || !strings.Contains(err.Error(), "layers is not a directory") {
		t.Errorf("%v, want an error that names layers", err)
	}
}

func TestBootstrapIgnoresUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	_, root := newStore(t)
	for _, name := range []string{".", manifest.LayersDir, manifest.TagFile} {
		fi, err := os.Stat(filepath.Join(root, name))
		if err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v, want 0755 as in Storm", name, fi.Mode(), err)
		}
	}
}

func TestPermissionDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: takes another file system uid")
	}
	s, root := newStore(t)
	// t.TempDir lies below a directory of mode 0700.
	if err := os.Chmod(filepath.Join(root, "../.."), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, manifest.TagFile), 0o600); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if _, err := s.ReadFile(t.Context(), manifest.TagFile, 10); !errors.Is(err, fs.ErrPermission) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("file: %v, want %v", err, fs.ErrPermission)
		}
		if _, err := s.Create(t.Context(), "layers/x", store.CreateOptions{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("create: %v, want %v", err, fs.ErrPermission)
		}
		if err := s.Replace(t.Context(), "layers/x", nil, nil, store.CreateOptions{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("replace: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(root, 0o700); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		_, err := s.ReadFile(t.Context(), manifest.TagFile, 10)
		if !errors.Is(err, fs.ErrPermission) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("root: %v, want %v and %v", err, fs.ErrPermission, store.ErrUnavailable)
		}
	})
}

// Commit syncs, so a test of what a killed process leaves needs no crash: an
// upload whose file descriptor is closed looks the same.
func TestCreateSweepsDeadUploads(t *testing.T) {
	s, root := newStore(t)
	dead := filepath.Join(root, "layers", ".upload-x.DEAD")
	other := filepath.Join(root, "layers", ".upload-xy.DEAD")
	for _, p := range []string{dead, other} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	living, err := s.Create(t.Context(), "layers/x", store.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer living.Abort()
	second, err := s.Create(t.Context(), "layers/x", store.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second.Abort()
	if _, err := os.Lstat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead upload is still there: %v", err)
	}
	if _, err := os.Lstat(other); err != nil {
		t.Errorf("an upload of another name was taken: %v", err)
	}
	if err := living.Commit(); err != nil {
		t.Errorf("the living upload was taken: %v", err)
	}
}

func TestReservedNames(t *testing.T) {
	s, _ := newStore(t)
	for _, name := range []string{".lock", "layers/.upload-x", ".upload-"} {
		if _, err := s.Create(t.Context(), name, store.CreateOptions{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("create %s: %v, want %v", name, err, fs.ErrInvalid)
		}
	}
}

// Other processes hold the lock for as long as they like; our caller does not
// wait longer than its context.
func TestReplaceGivesUpWithItsContext(t *testing.T) {
	s, root := newStore(t)
	lock, err := os.OpenFile(filepath.Join(root, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = s.Replace(ctx, "tags", nil, []byte("x"), store.CreateOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want %v", err, context.DeadlineExceeded)
	}
	lock.Close()
	// The waiter that was left behind lets go of the lock.
	if err := s.Replace(t.Context(), "tags", nil, []byte("x"), store.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func TestReplaceAcrossProcesses(t *testing.T) {
	s, root := newStore(t)
	const children = 4
	var wg sync.WaitGroup
	for range children {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env = append(os.Environ(), childRoot+"="+root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("child: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	got, err := s.ReadFile(t.Context(), manifest.TagFile, 100)
	if want := strconv.Itoa(children * childRounds); err != nil || string(got) != want {
		t.Errorf("counted %q, %v, want %s", got, err, want)
	}
}
