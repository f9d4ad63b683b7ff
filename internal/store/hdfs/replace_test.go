package hdfs_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/storetest"
)

// counter starts a process that counts in the tag file of the store at root,
// and writes a line for each time that it has.
func counter(t *testing.T, root string, rounds int) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childURL+"="+hadoop.URL(root), childConf+"="+hadoop.ConfDir(), childRounds+"="+strconv.Itoa(rounds))
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	check(t, cmd.Start())
	return cmd, &out
}

func counted(t *testing.T, s *hdfs.Store) int {
	t.Helper()
	content, err := s.ReadFile(t.Context(), manifest.TagFile, 100)
	check(t, err)
	n, err := strconv.Atoi("0" + string(content))
	check(t, err)
	return n
}

func TestReplaceAcrossProcesses(t *testing.T) {
	s, root := newStore(t)
	const children, rounds = 3, 8
	var wg sync.WaitGroup
	for range children {
		cmd, _ := counter(t, root, rounds)
		wg.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := counted(t, s); n != children*rounds {
		t.Errorf("counted %d, want %d", n, children*rounds)
	}
}

// A writer is killed at some moment, again and again, while another one works:
// what a writer was told is done is done, and nothing it left is in the way.
func TestReplaceOfKilledWriters(t *testing.T) {
	s, root := newStore(t)
	const victims, endless = 3, 1 << 20
	done := 0
	for range victims {
		victim, out := counter(t, root, endless)
		for before := counted(t, s); counted(t, s) < before+3; {
			check(t, t.Context().Err())
		}
		check(t, victim.Process.Kill())
		_ = victim.Wait() // it was killed
		done += strings.Count(out.String(), "\n")
		check(t, storetest.Increment(t.Context(), s, manifest.TagFile))
		done++
	}
	// A victim may have died between its rename and its word about it.
	if n := counted(t, s); n < done || n > done+victims {
		t.Errorf("counted %d, and %d writes were acknowledged", n, done)
	}
}

// A writer sleeps just before its rename, for as long as another one needs.
func TestReplaceOfSleepingWriter(t *testing.T) {
	s, _ := newStore(t)
	publish, err := s.Bid(t.Context(), manifest.TagFile, []byte{}, []byte("sleeper"))
	check(t, err)
	check(t, s.Replace(t.Context(), manifest.TagFile, []byte{}, []byte("other"), store.CreateOptions{}))
	if err := publish(); !errors.Is(err, hdfs.ErrFenced) {
		t.Errorf("the sleeper's rename: %v, want %v", err, hdfs.ErrFenced)
	}
	got, err := s.ReadFile(t.Context(), manifest.TagFile, 100)
	if err != nil || string(got) != "other" {
		t.Errorf("%q, %v, want what the other wrote", got, err)
	}
}
