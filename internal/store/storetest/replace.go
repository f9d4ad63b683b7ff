package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func replace(t *testing.T, s store.Writer) {
	const name = "tags"
	put := func(old, content []byte) error {
		return s.Replace(t.Context(), name, old, content, store.CreateOptions{})
	}
	wantErr(t, put([]byte("what never was"), []byte("1")), store.ErrChanged)
	must(t, put(nil, nil))
	wantContent(t, s, name, "")
	wantErr(t, put(nil, []byte("1")), store.ErrChanged)
	must(t, put([]byte{}, []byte("1")))
	wantErr(t, put([]byte{}, []byte("2")), store.ErrChanged)
	wantErr(t, put([]byte("12"), []byte("2")), store.ErrChanged)
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
func replaceConcurrently(t *testing.T, s store.Writer) {
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
func Increment(ctx context.Context, s store.Writer, name string) error {
	for {
		old, err := s.ReadFile(ctx, name, 100)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi("0" + string(old))
		if err != nil {
			return err
		}
		err = s.Replace(ctx, name, old, []byte(strconv.Itoa(n+1)), store.CreateOptions{})
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
}
