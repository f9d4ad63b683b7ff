package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// moments is at how many points of its run a command is killed.
const moments = 16

// TestKilledAtAnyMoment kills commands by SIGKILL all over their run. The tags
// are as before or as after, each leads to a whole image, and the same
// command then does the rest.
func TestKilledAtAnyMoment(t *testing.T) {
	image := sharedImages(t, 2)
	// before has the image of storm/a; dead also has one that the next cleanup
	// deletes.
	before, dead := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "store")
	mustRun(t, "-b", "--store", before, "pull-build-push-update", image+":v1,storm/a")
	mustRun(t, "-b", "--store", dead, "pull-build-push-update", image+":v1,storm/a", image+":v2,storm/b")
	hash := tagsOf(t, dead)["storm/b"]
	both := filepath.Join(t.TempDir(), "store")
	copyDir(t, dead, both)
	mustRun(t, "remove-tag", "--store", dead, "storm/b")
	mustRun(t, "cleanup", "--store", dead)
	mustRun(t, "cleanup", "--store", dead, "--untagged-transition-sec", "0")

	for name, tt := range map[string]struct {
		store string // at the beginning
		args  []string
		// again is what does the rest, if that is not the same.
		again []string
	}{
		"pull-build-push-update": {before, []string{"pull-build-push-update", image + ":v2,storm/b"}, nil},
		"copy-update":            {before, []string{"copy-update", both, "STORE", "storm/b"}, nil},
		"add-tag":                {before, []string{"add-tag", "storm/a,storm/b,storm/c"}, nil},
		"add-tag of a dead one":  {dead, []string{"add-tag", hash + ",storm/b"}, nil},
		"remove-tag":             {both, []string{"remove-tag", "storm/b"}, nil},
		"remove-image":           {both, []string{"remove-image", "storm/b"}, []string{"remove-image", hash}},
		"cleanup":                {dead, []string{"cleanup", "--untagged-transition-sec", "0"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			again := tt.again
			if again == nil {
				again = tt.args
			}
			began := time.Now()
			done := runKilled(t, tt.store, tt.args, time.Minute)
			took := time.Since(began)
			was, after := tagsOf(t, tt.store), tagsOf(t, done)
			for i := range moments {
				store := runKilled(t, tt.store, tt.args, took*time.Duration(i)/moments)
				wantWhole(t, store)
				switch tags := tagsOf(t, store); {
				case maps.Equal(tags, after):
					// It may have been done but for its exit.
					out, err := program(t, argsFor(again, store)...).CombinedOutput()
					if err != nil && !strings.Contains(string(out), "no such image in the store") {
						t.Errorf("repeated: %v: %s", err, out)
					}
				case maps.Equal(tags, was):
					mustRun(t, argsFor(again, store)...)
				default:
					t.Errorf("tags %v, before %v, after %v", tags, was, after)
				}
				if tags := tagsOf(t, store); !maps.Equal(tags, after) {
					t.Errorf("tags after the repetition %v, want %v", tags, after)
				}
				wantNoFaults(t, store)
			}
		})
	}
}

func argsFor(args []string, store string) []string {
	out := []string{"--store", store, "--log", "ERROR"}
	for _, a := range args {
		out = append(out, strings.ReplaceAll(a, "STORE", store))
	}
	return out
}

// runKilled runs a command on a copy of a store, kills it after a while if it
// has not ended, and returns the copy.
func runKilled(t *testing.T, store string, args []string, after time.Duration) string {
	t.Helper()
	work := filepath.Join(t.TempDir(), "store")
	copyDir(t, store, work)
	cmd := program(t, argsFor(args, work)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
		t.Fatalf("%q: %v: %s", args, err, out.String())
	}
	return work
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// TestAKilledPullBuildIsContinued kills pull-build all over its run.
func TestAKilledPullBuildIsContinued(t *testing.T) {
	image := sharedImages(t, 1) + ":v1"
	began := time.Now()
	mustRun(t, "pull-build", "--working-dir", t.TempDir(), image)
	took := time.Since(began)
	for i := range moments / 2 {
		work, store := t.TempDir(), filepath.Join(t.TempDir(), "store")
		cmd := program(t, "pull-build", "--working-dir", work, image)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(took*time.Duration(i)*2/moments, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		mustRun(t, "pull-build", "--working-dir", work, image)
		mustRun(t, "push-update", "-b", "--store", store, "--working-dir", work, image+",storm/a")
		wantWhole(t, store)
		wantNoFaults(t, store)
		if left, err := os.ReadDir(work); err != nil || len(left) != 1 {
			t.Errorf("the working directory has %v, %v", left, err)
		}
	}
}
