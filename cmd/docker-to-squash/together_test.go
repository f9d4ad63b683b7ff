package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// together runs commands at once on one store; all must end well.
func together(t *testing.T, store string, commands ...[]string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, args := range commands {
		wg.Go(func() {
			if out, err := program(t, append([]string{"--store", store, "--log", "ERROR"}, args...)...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", args, err, out)
			}
		})
	}
	wg.Wait()
}

// pushTogether pushes two images at once, over and over, and wants both tags.
func pushTogether(t *testing.T, store string) {
	t.Helper()
	image := sharedImages(t, 2)
	mustRun(t, "bootstrap", "--store", store)
	for i := range 3 {
		a, b := fmt.Sprint("storm/a:", i), fmt.Sprint("storm/b:", i)
		together(t, store, []string{"pull-build-push-update", image + ":v1," + a}, []string{"pull-build-push-update", image + ":v2," + b})
		if tags := tagsOf(t, store); tags[a] == "" || tags[b] == "" || len(tags) != 2*(i+1) {
			t.Fatalf("tags %v", tags)
		}
		wantWhole(t, store)
	}
	wantNoFaults(t, store)
}

func TestTwoPushesAtOnce(t *testing.T) {
	pushTogether(t, filepath.Join(t.TempDir(), "store"))
}

// TestPushWhileImagesAreRemoved pushes images while others are removed with
// which they share a layer, or which they are.
func TestPushWhileImagesAreRemoved(t *testing.T) {
	image := sharedImages(t, 2)
	store := filepath.Join(t.TempDir(), "store")
	mustRun(t, "bootstrap", "--store", store)
	for i := range 8 {
		mustRun(t, "--store", store, "pull-build-push-update", image+":v1,storm/old")
		hash := tagsOf(t, store)["storm/old"]
		remove := []string{"remove-image", hash}
		if i%2 == 1 {
			mustRun(t, "--store", store, "remove-tag", "storm/old")
			for range 2 {
				mustRun(t, "--store", store, "cleanup", "--untagged-transition-sec", "0")
			}
			remove = []string{"cleanup", "--untagged-transition-sec", "0"}
		}
		tag := fmt.Sprint("storm/new:", i)
		together(t, store, remove, []string{"pull-build-push-update", image + ":v2," + tag})
		wantWhole(t, store)
		if tags := tagsOf(t, store); tags[tag] == "" {
			t.Errorf("tags %v", tags)
		}
	}
	if tags := tagsOf(t, store); strings.Contains(fmt.Sprint(tags), "storm/old") {
		t.Errorf("tags %v", tags)
	}
	wantNoFaults(t, store)
}
