package runc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestLogs: those of the last two attempts stay, whatever became of them.
func TestLogs(t *testing.T) {
	b := newBox(t)
	b.run("exit", "0")
	b.wait()
	for attempt := 1; attempt <= 3; attempt++ {
		b.must(b.Delete(t.Context(), testID))
		b.spec([]string{"exit", "0"}, nil)
		_, err := b.Create(t.Context(), testID, b.bundle, attempt)
		b.must(err)
		b.must(b.Start(t.Context(), testID))
		b.wait()
		for _, line := range []string{" stdout F out: bye\n", " stderr F err: bye\n"} {
			if !strings.Contains(b.log(attempt), line) {
				t.Errorf("log %q lacks %q", b.log(attempt), line)
			}
		}
	}
	b.must(b.Delete(t.Context(), testID))
	names, err := filepath.Glob(filepath.Join(b.options.LogDir, testID, "*"))
	b.must(err)
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	if d := cmp.Diff([]string{"2.log", "3.log"}, names); d != "" {
		t.Error("only the last two attempts' logs stay: ", d)
	}
	b.must(b.RemoveLogs(testID))
	b.must(b.RemoveLogs(testID))
	if _, err := os.Stat(filepath.Join(b.options.LogDir, testID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("logs are left: %v", err)
	}
}

const (
	// testLogBytes is a limit that is soon reached: a part has room for some
	// 210 lines of the guest's, with conmon's 40 bytes in front of each.
	testLogBytes = 90_000
	burst        = 50
)

// speaker is a container that says numbered lines when it is told to.
type speaker struct {
	*box
	said int
	// watched is true while somebody keeps the parts of the log.
	watched bool
}

func newSpeaker(t *testing.T) *speaker {
	b := newBox(t)
	b.options.LogBytes = testLogBytes
	b.run("count", strconv.Itoa(burst))
	b.waitLog("ready", 1)
	return &speaker{box: b}
}

func (s *speaker) path(suffix string) string {
	return filepath.Join(s.logDir(testID), logName(0)) + suffix
}

// say has a burst of lines said, and waits until they are written down, and until
// whoever keeps the parts has seen a new one: on a busy machine conmon begins the
// next part sooner, and then one is lost, as it may be.
func (s *speaker) say() {
	s.t.Helper()
	s.said += burst
	s.must(s.Signal(s.t.Context(), testID, syscall.SIGHUP, false))
	last := fmt.Sprintf("%098d!\n", s.said-1)
	s.eventually("the log has line "+last, func() bool { return strings.Contains(s.log(0), last) })
	if s.watched {
		s.pinned()
	}
}

func (s *speaker) pinned() {
	s.t.Helper()
	s.eventually("the newest part is pinned", func() bool { return s.inode(partPin) == s.inode("") })
}

// sayUntil has lines said until conmon has begun so many more parts.
func (s *speaker) sayUntil(parts int) {
	s.t.Helper()
	for range parts {
		begun := s.inode("")
		for s.inode("") == begun {
			s.say()
		}
	}
}

func (s *speaker) inode(suffix string) uint64 {
	s.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(s.path(suffix), &st); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return st.Ino
}

// bytes is what the logs take on the disk, files with two names once.
func (s *speaker) bytes() (sum int64) {
	s.t.Helper()
	entries, err := os.ReadDir(s.logDir(testID))
	s.must(err)
	seen := map[uint64]bool{}
	for _, e := range entries {
		var st unix.Stat_t
		s.must(unix.Lstat(filepath.Join(s.logDir(testID), e.Name()), &st))
		if !seen[st.Ino] {
			sum += st.Size
		}
		seen[st.Ino] = true
	}
	return sum
}

// numbers reads the guest's lines of one part.
func (s *speaker) numbers(suffix string) (found []int) {
	s.t.Helper()
	content, err := os.ReadFile(s.path(suffix))
	s.must(err)
	return numbersOf(s.t, content)
}

// numbersOf reads the guest's lines out of a log as CRI has it: time, stream,
// whether the line is whole, text.
func numbersOf(t testing.TB, content []byte) (found []int) {
	t.Helper()
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 || fields[1] != "stdout" || fields[2] != "F" {
			t.Fatalf("malformed line %q", line)
		}
		var n int
		if _, err := fmt.Sscanf(fields[3], "%d!", &n); err == nil {
			found = append(found, n)
		}
	}
	return found
}

// wantRun checks that numbers count up to last without a gap.
func wantRun(t testing.TB, numbers []int, last int) {
	t.Helper()
	for i, n := range numbers {
		if want := last - len(numbers) + 1 + i; n != want {
			t.Fatalf("line %d at the place of %d; %d lines in all", n, want, len(numbers))
		}
	}
}

// watch is the agent that waits for the container's end.
func (s *speaker) watch() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := s.Wait(ctx, testID); !errors.Is(err, context.Canceled) {
			s.t.Errorf("Wait: %v", err)
		}
	})
	s.pinned()
	s.watched = true
	return func() { s.watched = false; cancel(); group.Wait() }
}

// TestRotationKeepsThePartBefore: right after a part was full, its lines are
// still there; the whole stays within its limit.
func TestRotationKeepsThePartBefore(t *testing.T) {
	s := newSpeaker(t)
	stop := s.watch()
	for range 4 {
		s.sayUntil(1)
		before := s.numbers(partBefore)
		if len(before) < 150 {
			t.Errorf("the part before has %d lines", len(before))
		}
		wantRun(t, append(before, s.numbers("")...), s.said-1)
		if sum := s.bytes(); sum > testLogBytes {
			t.Errorf("%d bytes of logs, want at most %d", sum, testLogBytes)
		}
	}
	stop()
	if s.rotations.file != nil {
		t.Error("inotify goes on when nothing is watched")
	}
}

// TestRotationWithoutAgent: the log stays within its limit, and the next agent
// goes on from what it finds.
func TestRotationWithoutAgent(t *testing.T) {
	s := newSpeaker(t)
	s.watch()()
	first := s.inode("")
	s.sayUntil(4)
	if s.inode(partPin) != first {
		t.Error("the part that the agent saw last is lost")
	}
	if sum := s.bytes(); sum > testLogBytes {
		t.Errorf("%d bytes of logs, want at most %d", sum, testLogBytes)
	}
	s.watch()()
	if s.inode(partBefore) != first {
		t.Error("the part that the last agent saw is not the part before")
	}
	s.sayUntil(1) // and the agent dies: Delete knows what to do
	newest := append(s.numbers(partPin), s.numbers("")...)
	b := s.box
	b.must(b.Delete(t.Context(), testID))
	wantRun(t, append(s.numbers(partBefore), s.numbers("")...), s.said-1)
	wantRun(t, newest, s.said-1)
	if s.inode(partPin) != 0 {
		t.Error("a pin is left of a container that is gone")
	}
	b.spec([]string{"exit", "0"}, nil)
	_, err := b.Create(t.Context(), testID, b.bundle, 1)
	b.must(err)
	if len(s.numbers(partBefore)) == 0 {
		t.Error("the next attempt has deleted a part of the last one's log")
	}
}

// TestLogsAreFollowed: what people follow a log with sees every line.
func TestLogsAreFollowed(t *testing.T) {
	s := newSpeaker(t)
	defer s.watch()()
	var mu sync.Mutex
	var out bytes.Buffer
	tail := exec.Command("tail", "-n", "+1", "-s", "0.1", "-F", s.path(""))
	tail.Stdout = writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	})
	s.must(tail.Start())
	defer func() {
		if err := errors.Join(tail.Process.Kill(), ignoreExit(tail.Wait())); err != nil {
			t.Error(err)
		}
	}()
	for range 12 {
		s.say()
		last := fmt.Sprintf("%098d!\n", s.said-1)
		s.eventually("tail has line "+last, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(out.String(), last)
		})
	}
	if s.inode(partBefore) == 0 {
		t.Fatal("nothing was rotated")
	}
	mu.Lock()
	defer mu.Unlock()
	got := numbersOf(t, out.Bytes())
	if len(got) != s.said {
		t.Errorf("tail has %d lines of %d", len(got), s.said)
	}
	wantRun(t, got, s.said-1)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestOldLogs(t *testing.T) {
	dir := t.TempDir()
	r := New(Options{LogDir: dir})
	if ids, err := New(Options{LogDir: filepath.Join(dir, "none")}).OldLogs(time.Now()); err != nil || len(ids) != 0 {
		t.Errorf("of no directory: %v, %v", ids, err)
	}
	now := time.Now()
	write := func(id string, at time.Time) {
		t.Helper()
		file := filepath.Join(dir, id, "0.log")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, nil, 0o600),
			os.Chtimes(file, at, at), os.Chtimes(filepath.Dir(file), now.Add(-3*time.Hour), now.Add(-3*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	other := strings.Replace(testID, "6703", "6704", 1)
	write(testID, now.Add(-2*time.Hour))
	write(other, now)
	write("somebody-elses", now.Add(-2*time.Hour))
	ids, err := r.OldLogs(now.Add(-time.Hour))
	if d := cmp.Diff([]string{testID}, ids); err != nil || d != "" {
		t.Error(err, d)
	}
}
