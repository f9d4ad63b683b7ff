package localizer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stormcell/stormcell/internal/store/localdir"
)

// BenchmarkLocalize fetches a layer of 300 MiB, verified and synced, from a
// store on the same disk; BenchmarkCopy copies the same file and syncs it.
func BenchmarkLocalize(b *testing.B) {
	s := newSite(b, 300<<20)
	b.SetBytes(s.image.SquashfsBytes())
	for i := 0; b.Loop(); i++ {
		l := New(Options{Store: localdir.New(s.store), Dir: fmt.Sprint(s.cache, i)})
		if err := l.Recover(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Localize(b.Context(), "w", s.image, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(fmt.Sprint(s.cache, i)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkCopy(b *testing.B) {
	s := newSite(b, 300<<20)
	b.SetBytes(s.image.SquashfsBytes())
	for b.Loop() {
		src, err := os.Open(filepath.Join(s.store, s.image.Layers[0].File))
		if err != nil {
			b.Fatal(err)
		}
		dst, err := os.OpenFile(s.cache, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(dst, src); err != nil {
			b.Fatal(err)
		}
		if err := dst.Sync(); err != nil {
			b.Fatal(err)
		}
		src.Close()
		dst.Close()
		b.StopTimer()
		if err := os.Remove(s.cache); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkWarm is what a start costs whose image is cached.
func BenchmarkWarm(b *testing.B) {
	s := newSite(b, 1000, 1000, 1000, 1000, 1000, 1000, 1000)
	l := s.localizer(nil)
	s.localize(l, "w", s.image)
	for b.Loop() {
		if _, err := l.Localize(b.Context(), "other", s.image, nil); err != nil {
			b.Fatal(err)
		}
		l.Release("other")
	}
}
