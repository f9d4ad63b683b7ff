package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// patience is after how long a program that does not go on is killed.
const patience = time.Minute

// TestBars runs the program on a terminal, stops it in the middle of a layer
// and then gives it the rest, or nothing more.
func TestBars(t *testing.T) {
	dir := t.TempDir()
	image := pipedImage(t, dir)
	blob, err := os.ReadFile(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	half := len(blob) / 2
	name := shortDigest(digest.FromBytes(blob))
	read := fmt.Sprintf("%d.0 b / %d.0 b", half, len(blob))
	percent := fmt.Sprintf(" %d %%", 100*half/len(blob))
	for what, tt := range map[string]struct {
		rest []byte
		says []string
		exit int
	}{
		"a whole layer":           {blob[half:], []string{name, fmt.Sprintf("%d.0 b / %[1]d.0 b", len(blob)), " 100 % done\r\n"}, 0},
		"a layer that ends early": {nil, []string{name, read, percent + " failed\r\n", "docker-to-squash: ", fmt.Sprintf("ends after %d of %d bytes", half, len(blob))}, 1},
	} {
		t.Run(what, func(t *testing.T) {
			// Opened for both, a pipe need not wait for its other end.
			pipe, err := os.OpenFile(filepath.Join(dir, "layer"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer pipe.Close()
			cmd := program(t, "--store", filepath.Join(t.TempDir(), "store"), "-b", "pull-build-push-update", image+",storm/demo:1")
			screen := startOnTerminal(t, cmd)
			if _, err := pipe.Write(blob[:half]); err != nil {
				t.Fatal(err)
			}
			screen.await(t, name, read, percent)
			if _, err := pipe.Write(tt.rest); err != nil {
				t.Fatal(err)
			}
			pipe.Close()
			screen.await(t, tt.says...)
			err = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.exit {
				t.Errorf("it ends with %d, %v, want %d", got, err, tt.exit)
			}
		})
	}
}

// screen is what a terminal shows.
type screen struct {
	*os.File
	shown []byte // that nobody has waited for
}

// await reads until the screen shows the words one after the other.
func (s *screen) await(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		for !bytes.Contains(s.shown, []byte(word)) {
			chunk := make([]byte, 4096)
			n, err := s.Read(chunk)
			if err != nil {
				t.Fatalf("%q is not on the screen before %v: %q", word, err, s.shown)
			}
			s.shown = append(s.shown, chunk[:n]...)
		}
		_, s.shown, _ = bytes.Cut(s.shown, []byte(word))
	}
}

// startOnTerminal starts a program whose standard error is a terminal. The
// screen ends with the program.
func startOnTerminal(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	master, terminal := openTerminal(t)
	cmd.Stderr = terminal
	err := cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { hang.Stop() })
	return &screen{File: master}
}

// openTerminal makes a terminal and the end that sees what it shows.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err,
		unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
