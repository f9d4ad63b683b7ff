package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/manifest"
)

func replace(t *testing.T, s imagestore.Writer) {
	const name = "tags"
	put := func(old, content []byte) error {
		return s.Replace(t.Context(), name, old, content, imagestore.CreateOptions{})
	}
	wantErr(t, put([]byte("what never was"), []byte("1")), imagestore.ErrChanged)
	must(t, put(nil, nil))
	wantContent(t, s, name, "")
	wantErr(t, put(nil, []byte("1")), imagestore.ErrChanged)
	must(t, put([]byte{}, []byte("1")))
	wantErr(t, put([]byte{}, []byte("2")), imagestore.ErrChanged)
	wantErr(t, put([]byte("12"), []byte("2")), imagestore.ErrChanged)
	wantContent(t, s, name, "1")
	must(t, put([]byte("1"), []byte("2")))
	wantContent(t, s, name, "2")
	info, err := s.Stat(t.Context(), name)
	must(t, err)
	if info.Mode.Perm() != 0o444 {
		t.Errorf("mode %v, want the default 0444", info.Mode)
	}
}

// replaceConcurrently counts in a file from several goroutines.
func replaceConcurrently(t *testing.T, s imagestore.Writer) {
	const workers, rounds = 8, 5
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if err := Increment(t.Context(), s, manifest.TagFile); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantContent(t, s, manifest.TagFile, strconv.Itoa(workers*rounds))
}

// Increment adds one to the number in the file name ("" is 0), by reading and
// Replace, again and again until no other writer comes in between.
func Increment(ctx context.Context, s imagestore.Writer, name string) error {
	for {
		old, err := s.ReadFile(ctx, name, 100)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi("0" + string(old))
		if err != nil {
			return err
		}
		err = s.Replace(ctx, name, old, []byte(strconv.Itoa(n+1)), imagestore.CreateOptions{})
		if !errors.Is(err, imagestore.ErrChanged) {
			return err
		}
	}
}
