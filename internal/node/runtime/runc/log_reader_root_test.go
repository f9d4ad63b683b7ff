package runc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// read opens the log and reads it to its end.
func (b *box) read(o runtime.LogOptions) string {
	b.t.Helper()
	l, err := b.Log(b.t.Context(), testID, o)
	b.must(err)
	content, err := io.ReadAll(l)
	b.must(errors.Join(err, l.Close()))
	return string(content)
}

// numbersIn reads the numbers of the guest's lines.
func numbersIn(text string) (numbers []int) {
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(line, "%d!", &n); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// said counts the guest's lines up to the last, and fails if one is missing.
func said(t *testing.T, text string, last int) int {
	t.Helper()
	numbers := numbersIn(text)
	wantRun(t, numbers, last)
	return len(numbers)
}

func TestReadLog(t *testing.T) {
	s := newSpeaker(t)
	defer s.watch()()
	s.sayUntil(2)
	s.say()
	if n := said(t, s.read(runtime.LogOptions{}), s.said-1); n <= 200 {
		t.Errorf("%d lines: the part before is missing", n)
	}
	for _, tail := range []int64{0, 1, burst, 240} { // the last reaches into the part before
		text := s.read(runtime.LogOptions{TailLines: &tail})
		if n := said(t, text, s.said-1); int64(n) != tail {
			t.Errorf("%d of the last %d lines", n, tail)
		}
	}
	one := int64(1)
	stamped := s.read(runtime.LogOptions{TailLines: &one, Timestamps: true})
	if !strings.HasPrefix(stamped, "20") || !strings.HasSuffix(stamped, fmt.Sprintf(" %098d!\n", s.said-1)) {
		t.Errorf("with its time, the last line is %q", stamped)
	}
}

// TestFollowLog: who follows sees every line once, whatever conmon does with its
// files, and the end with the container's.
func TestFollowLog(t *testing.T) {
	s := newSpeaker(t)
	stop := s.watch()
	l, err := s.Log(t.Context(), testID, runtime.LogOptions{Follow: true})
	s.must(err)
	defer l.Close()
	lines := bufio.NewReader(l)
	next := func() string {
		t.Helper()
		line, err := lines.ReadString('\n')
		s.must(err)
		return line
	}
	if line := next(); line != "ready\n" {
		t.Fatalf("the first line is %q", line)
	}
	got := 0
	for range 12 { // two parts and more
		s.say()
		for ; got < s.said; got++ {
			if line := next(); line != fmt.Sprintf("%098d!\n", got) {
				t.Fatalf("line %d is %q", got, line)
			}
		}
	}
	if s.inode(partBefore) == 0 {
		t.Fatal("nothing was rotated")
	}
	stop()
	s.must(s.Signal(t.Context(), testID, syscall.SIGKILL, true))
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// TestFollowSlowly: who reads more slowly than the worker writes loses whole
// parts, at one place, and reads no line twice.
func TestFollowSlowly(t *testing.T) {
	s := newSpeaker(t)
	stop := s.watch()
	l, err := s.Log(t.Context(), testID, runtime.LogOptions{Follow: true})
	s.must(err)
	defer l.Close()
	s.sayUntil(4)
	stop()
	s.must(s.Signal(t.Context(), testID, syscall.SIGKILL, true))
	content, err := io.ReadAll(l)
	s.must(err)
	numbers, gaps := numbersIn(string(content)), 0
	for i, n := range numbers[1:] {
		if n <= numbers[i] {
			t.Fatalf("line %d comes after line %d", n, numbers[i])
		}
		if n > numbers[i]+1 {
			gaps++
		}
	}
	if first, last := numbers[0], numbers[len(numbers)-1]; first != 0 || last != s.said-1 || gaps != 1 {
		t.Errorf("lines %d to %d of %d with %d gaps", first, last, s.said, gaps)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	s := newSpeaker(t)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := s.Log(ctx, testID, runtime.LogOptions{Follow: true, TailLines: new(int64)})
	s.must(err)
	defer l.Close()
	read := make(chan error)
	go func() {
		_, err := l.Read(make([]byte, 1))
		read <- err
	}()
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// TestLogOfAttempts: the newest one's is read, or that of the one before; one
// that has ended is not waited for, though another runs.
func TestLogOfAttempts(t *testing.T) {
	b := newBox(t)
	for _, o := range []runtime.LogOptions{{}, {Previous: true}, {Follow: true}} {
		if _, err := b.Log(t.Context(), testID, o); !errors.Is(err, runtime.ErrNoLog) {
			t.Errorf("before the start, with %+v: %v", o, err)
		}
	}
	if _, err := b.Log(t.Context(), "../"+testID, runtime.LogOptions{}); !errors.Is(err, runtime.ErrInvalidID) {
		t.Errorf("of no id: %v", err)
	}
	b.run("exit", "0")
	b.wait()
	if got := b.read(runtime.LogOptions{Follow: true}); got != "out: bye\nerr: bye\n" && got != "err: bye\nout: bye\n" {
		t.Errorf("the log is %q", got)
	}
	if _, err := b.Log(t.Context(), testID, runtime.LogOptions{Previous: true}); !errors.Is(err, runtime.ErrNoLog) {
		t.Errorf("of an attempt before the first: %v", err)
	}
	b.must(b.Delete(t.Context(), testID))
	b.spec([]string{"forever"}, nil)
	_, err := b.Create(t.Context(), testID, b.bundle, 1)
	b.must(err)
	b.must(b.Start(t.Context(), testID))
	b.eventually("it is ready", func() bool { return b.read(runtime.LogOptions{}) == "ready\n" })
	if got := b.read(runtime.LogOptions{Previous: true, Follow: true}); !strings.Contains(got, "out: bye\n") {
		t.Errorf("the log before is %q", got)
	}
}
