package localizer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/imagestore/localdir"
	"github.com/stormcell/stormcell/internal/manifest"
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
	}
	if half == 0 {
		t.Error("no kill hit a file being written: the test shows nothing")
	}
	t.Logf("%d half-written files after 30 kills, all were swept", half)
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
		case !layer && !recallForm.MatchString("layers/"+name):
			s.Errorf("left over: %s", name)
		}
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
