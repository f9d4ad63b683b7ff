package diskusage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wide is a limit that no test reaches.
var wide = Usage{Bytes: 1 << 40, Inodes: 1 << 30}

// unpaced never rests.
func unpaced() *pace {
	return &pace{cpu: func() time.Duration { return 0 }}
}

func measured(t *testing.T, limit Usage, dirs ...string) Report {
	t.Helper()
	var places []Place
	for _, d := range dirs {
		places = append(places, Place{filepath.Base(d), d})
	}
	r, err := measure(t.Context(), unpaced(), limit, places, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put writes a file, and returns what it takes up.
func put(t *testing.T, path string, size int) int64 {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return blocks(t, path)
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * blockSize
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatCounts: each file once, whatever its names, by its blocks; nothing that is
// elsewhere.
func TestWhatCounts(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, filepath.Join(elsewhere, "large"), 8<<20)
	sub := filepath.Join(dir, "sub")
	check(t, os.Mkdir(sub, 0o700))
	want := blocks(t, sub)
	want += put(t, filepath.Join(dir, "one"), 1<<20)
	want += put(t, filepath.Join(sub, "two"), 2<<20)
	for i := range 3 {
		check(t, os.Link(filepath.Join(sub, "two"), filepath.Join(dir, "two-"+strconv.Itoa(i))))
	}
	check(t, os.Symlink(filepath.Join(elsewhere, "large"), filepath.Join(dir, "link")))
	check(t, os.Symlink(elsewhere, filepath.Join(sub, "tree")))
	check(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
	check(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<40))
	check(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))

	r := measured(t, wide, dir, filepath.Join(dir, "missing"))
	if r.Over || r.Bytes != want || r.Inodes != 7 {
		t.Errorf("%+v, want %d bytes in 7 inodes", r, want)
	}
}

// TestManyFilesEndTheWalk: a walk ends at the limit of inodes.
func TestManyFilesEndTheWalk(t *testing.T) {
	dir := t.TempDir()
	for i := range 20_000 {
		check(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
	}
	if r := measured(t, wide, dir); r.Over || r.Inodes != 20_000 {
		t.Errorf("%+v, want 20000 inodes", r)
	}
	limit := LimitOf(64 << 20)
	r := measured(t, limit, dir)
	if !r.Over || r.Inodes != limit.Inodes+1 {
		t.Errorf("limit %d: %+v, want one more than that", limit.Inodes, r)
	}
	if m := r.Message(limit); !strings.Contains(m, "64 MiB in 4096 files") || !strings.Contains(m, "in 4097 files") {
		t.Error(m)
	}
}

func TestBytesEndTheWalk(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	put(t, filepath.Join(first, "x"), 1<<20)
	for i := range 10 {
		put(t, filepath.Join(second, strconv.Itoa(i)), 1<<20)
	}
	limit := LimitOf(5 << 20)
	r := measured(t, limit, first, second)
	if !r.Over || r.Bytes > limit.Bytes+2<<20 {
		t.Errorf("%+v", r)
	}
	if m := r.Message(limit); !strings.HasPrefix(m, "took up more than its 5 MiB in 1024 files ("+filepath.Base(second)+": ") {
		t.Error("not the largest part first:", m)
	}
}

// TestDeepTree: directories that no path reaches are over the limit, and neither the
// stack nor the open files of this process are at an end.
func TestDeepTree(t *testing.T) {
	for _, tt := range []struct {
		levels int
		over   bool
	}{{maxDepth - 100, false}, {10_000, true}} {
		t.Run(strconv.Itoa(tt.levels), func(t *testing.T) {
			dir := t.TempDir()
			nest(t, dir, tt.levels)
			r := measured(t, wide, dir)
			if r.Over != tt.over || r.Over && !strings.Contains(r.Message(wide), "nested deeper than") || r.Inodes > maxDepth {
				t.Errorf("%+v", r)
			}
		})
	}
}

// nest makes directories in directories, and removes them at the end: os.RemoveAll needs an
// open file for each.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	check(t, err)
	for range levels {
		check(t, unix.Mkdirat(at, "d", 0o700))
		next, err := unix.Openat(at, "d", unix.O_DIRECTORY, 0)
		check(t, err)
		unix.Close(at)
		at = next
	}
	t.Cleanup(func() {
		for range levels {
			up, err := unix.Openat(at, "..", unix.O_DIRECTORY, 0)
			check(t, err)
			unix.Close(at)
			check(t, unix.Unlinkat(up, "d", unix.AT_REMOVEDIR))
			at = up
		}
		unix.Close(at)
	})
}

// TestRenamedUnderTheWalk: a file that is renamed after its directory was listed is found by
// its number, and counts once.
func TestRenamedUnderTheWalk(t *testing.T) {
	for _, kind := range []string{"file", "directory"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 100 { // fewer than are listed at once
				check(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
			}
			f, err := os.Open(dir)
			check(t, err)
			defer f.Close()
			names, err := f.Readdirnames(-1)
			check(t, err)
			last := filepath.Join(dir, names[len(names)-1])
			large := last
			if kind == "directory" {
				check(t, os.Remove(last))
				check(t, os.Mkdir(last, 0o700))
				large = filepath.Join(last, "x")
			}
			want := put(t, large, 4<<20)
			if kind == "directory" {
				want += blocks(t, last)
			}
			p := unpaced()
			p.cpu = func() time.Duration { // after a part of the directory
				_ = os.Rename(last, filepath.Join(dir, "other"))
				return 0
			}
			r, err := measure(t.Context(), p, wide, []Place{{"it", dir}}, nil)
			check(t, err)
			if _, err := os.Lstat(last); err == nil {
				t.Fatal("not renamed")
			}
			if r.Bytes != want {
				t.Errorf("%+v, want %d bytes", r, want)
			}
		})
	}
}

// TestSwapsUnderTheWalk: a directory that another process swaps with a link all the time
// leads nowhere else.
func TestSwapsUnderTheWalk(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, filepath.Join(elsewhere, "large"), 64<<20)
	a, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	check(t, os.Mkdir(a, 0o700))
	put(t, filepath.Join(a, "x"), 4<<20)
	check(t, os.Symlink(elsewhere, link))
	var turns atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			turns.Add(1)
		}
	}()
	for walks := 0; walks < 1000 || turns.Load() < 1000; walks++ {
		if r := measured(t, wide, dir); r.Bytes >= 64<<20 {
			t.Fatalf("followed a link: %+v", r)
		}
	}
	cancel()
	<-ended
}

// TestRest: a walk rests nine times as long as it works, by the clock of its CPU time.
func TestRest(t *testing.T) {
	var cpu, rested time.Duration
	p := &pace{
		cpu:  func() time.Duration { return cpu },
		rest: func(_ context.Context, d time.Duration) error { rested += d; return nil },
	}
	for range 100_000 {
		cpu += 20 * time.Microsecond
		check(t, p.step(t.Context()))
	}
	if rested < 8*cpu || rested > 10*cpu {
		t.Errorf("worked %s, rested %s", cpu, rested)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = newPace()
	p.cpu = func() time.Duration { return time.Hour }
	for range stepsAtOnce - 1 {
		check(t, p.step(ctx))
	}
	if err := p.step(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLimitOf(t *testing.T) {
	for bytes, inodes := range map[int64]int64{0: 0, -1: 0, 1: 1024, 64 << 20: 4096, 10 << 30: 262_144, 1 << 50: 262_144} {
		if l := LimitOf(bytes); l.Inodes != inodes || l.Bytes != max(bytes, 0) {
			t.Errorf("LimitOf(%d) = %+v, want %d inodes", bytes, l, inodes)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 64 << 20: "64 MiB", 10 << 30: "10 GiB", 1536: "1.5 KiB", 3 << 50: "3072 TiB"} {
		if have := size(bytes); have != want {
			t.Errorf("%d: %s, want %s", bytes, have, want)
		}
	}
}
