package localizer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// TestKilledAtAnyMoment kills a real process that localizes and evicts all the
// time. Whatever has its final name must be whole.
func TestKilledAtAnyMoment(t *testing.T) {
	s := newSite(t, 6<<20, 3<<20, 1000)
	s.image.Layers[1].Squashfs.Digest = ""
	image, err := json.Marshal(s.image)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	half := 0
	for range 30 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRestlessProcess$")
		cmd.Env = append(os.Environ(), "RESTLESS_STORE="+s.store, "RESTLESS_CACHE="+s.cache, "RESTLESS_IMAGE="+string(image))
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
		for _, name := range s.files() {
			if strings.HasPrefix(name, tempPrefix) {
				half++
			}
		}
		l := s.localizer(nil)
		s.wantWhole()
		s.localize(l, "w", s.image)
		if left := slices.DeleteFunc(s.files(), func(name string) bool { return !strings.HasPrefix(name, tempPrefix) }); len(left) > 0 {
			t.Errorf("still half-written: %v", left)
		}
	}
	if half == 0 {
		t.Error("no kill hit a file being written: the test shows nothing")
	}
	t.Logf("%d half-written files after 30 kills", half)
}

// wantWhole checks every file of the cache against its name.
func (s *site) wantWhole() {
	s.Helper()
	for _, name := range s.files() {
		content, err := os.ReadFile(filepath.Join(s.cache, "layers", name))
		if err != nil {
			s.Error(err)
			continue
		}
		hex, layer := strings.CutSuffix(name, ".sqsh")
		switch {
		case layer && digest.FromBytes(content).Encoded() != hex:
			s.Errorf("%s has other content, %d bytes", name, len(content))
		case !layer && !recallForm.MatchString("layers/"+name) && !partialForm.MatchString("layers/"+name):
			s.Errorf("left over: %s", name)
		}
	}
}

// TestKilledFetchResumes kills a process that fetches a layer, again and
// again; each next one goes on where it was.
func TestKilledFetchResumes(t *testing.T) {
	s := newSite(t, 5*segmentSize)
	image, err := json.Marshal(s.image)
	if err != nil {
		t.Fatal(err)
	}
	size, tally := s.image.SquashfsBytes(), filepath.Join(t.TempDir(), "tally")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for whole := false; !whole; {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMortalProcess$")
		cmd.Env = append(os.Environ(), "MORTAL_STORE="+s.store, "MORTAL_CACHE="+s.cache, "MORTAL_IMAGE="+string(image),
			"MORTAL_TALLY="+tally, fmt.Sprint("MORTAL_READS=", 2*segmentsPerFile+random.IntN(4*segmentsPerFile)))
		out, err := cmd.CombinedOutput()
		if whole = err == nil; whole {
			break
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("child: %v: %s", err, out)
		}
		if kills++; len(s.files()) != 1 || !partialForm.MatchString("layers/"+s.files()[0]) {
			t.Fatalf("after kill %d the cache has %v, want a half-fetched layer", kills, s.files())
		}
	}
	s.wantWhole()
	s.wantLayers(s.image.Layers...)
	fi, err := os.Stat(tally)
	if err != nil {
		t.Fatal(err)
	}
	// A byte of the tally is a piece that was read.
	read := fi.Size() * pieceSize
	t.Logf("%d kills, %.2f times the file were read", kills, float64(read)/float64(size))
	if kills < 2 || read >= 2*size {
		t.Errorf("%d bytes were read in %d tries for a file of %d, want less than twice the file", read, kills+1, size)
	}
}

// TestMortalProcess is the process that TestKilledFetchResumes starts. It is
// killed after some reads, whatever else it is about to do then.
func TestMortalProcess(t *testing.T) {
	store := os.Getenv("MORTAL_STORE")
	if store == "" {
		return // not a test by itself
	}
	var image manifest.Image
	if err := json.Unmarshal([]byte(os.Getenv("MORTAL_IMAGE")), &image); err != nil {
		t.Fatal(err)
	}
	reads, err := strconv.ParseInt(os.Getenv("MORTAL_READS"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(reads)
	tally, err := os.OpenFile(os.Getenv("MORTAL_TALLY"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer tally.Close()
	counting := &faultyStore{Reader: localdir.New(store), read: func(context.Context, string, int64) error {
		if left.Add(-1) < 0 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		_, err := tally.Write([]byte{'x'})
		return err
	}}
	l := New(Options{Store: counting, Dir: os.Getenv("MORTAL_CACHE")})
	if err := l.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Localize(t.Context(), "w", image, nil); err != nil {
		t.Fatal(err)
	}
}

// TestRestlessProcess is the process that TestKilledAtAnyMoment kills.
func TestRestlessProcess(t *testing.T) {
	store := os.Getenv("RESTLESS_STORE")
	if store == "" {
		return // not a test by itself
	}
	var image manifest.Image
	if err := json.Unmarshal([]byte(os.Getenv("RESTLESS_IMAGE")), &image); err != nil {
		t.Fatal(err)
	}
	l := New(Options{Store: localdir.New(store), Dir: os.Getenv("RESTLESS_CACHE")})
	if err := l.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Println("begun")
	for {
		if _, err := l.Localize(t.Context(), "w", image, nil); err != nil {
			t.Fatal(err)
		}
		l.Release("w")
		l.cache.evict(t.Context(), image.SquashfsBytes())
	}
}
