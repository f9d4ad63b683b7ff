package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledAtAnyMoment kills commands by SIGKILL before each call to the
// kernel that changes the store. The tags are as before or as after, each
// leads to a whole image, and the same command then does the rest.
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
			was := tagsOf(t, tt.store)
			store, _ := runKilled(t, tt.store, tt.args, "rename", 0)
			after := tagsOf(t, store)
			moments := 0
			for _, call := range []string{"rename", "unlink", "chmod"} {
				for n := 1; ; n++ {
					store, killed := runKilled(t, tt.store, tt.args, call, n)
					if !killed {
						break
					}
					moments++
					goesOn(t, store, again, was, after)
				}
			}
			if moments < 2 {
				t.Errorf("it was killed at %d moments", moments)
			}
		})
	}
}

// goesOn checks what a killed command has left in store, and repeats it.
func goesOn(t *testing.T, store string, again []string, was, after map[string]string) {
	t.Helper()
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

func argsFor(args []string, store string) []string {
	out := []string{"--store", store, "--log", "ERROR"}
	for _, a := range args {
		out = append(out, strings.ReplaceAll(a, "STORE", store))
	}
	return out
}

// runKilled runs a command on a copy of a store, which it returns, and kills it
// before the nth call of a kind that one of its threads makes; 0 is never.
func runKilled(t *testing.T, store string, args []string, call string, n int) (work string, killed bool) {
	t.Helper()
	work = filepath.Join(t.TempDir(), "store")
	copyDir(t, store, work)
	return work, runInjected(t, program(t, argsFor(args, work)...), call, n)
}

// runInjected runs the program under strace, which kills it. One that is not
// killed must end well.
func runInjected(t *testing.T, cmd *exec.Cmd, call string, n int) (killed bool) {
	t.Helper()
	if n > 0 {
		inject := fmt.Sprintf("inject=/%s:signal=KILL:when=%d", call, n)
		strace := exec.CommandContext(t.Context(), "strace", append([]string{"-f", "-qq", "-o", "/dev/null", "-e", inject, executable}, cmd.Args[1:]...)...)
		strace.Env = cmd.Env
		cmd = strace
	}
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	// A removal that was killed after its last step has nothing left to do.
	if err != nil && !strings.Contains(string(out), "no such image in the store") {
		t.Fatalf("%q: %v: %s", cmd.Args, err, out)
	}
	return false
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
	const moments = 8
	for i := range moments {
		work, store := t.TempDir(), filepath.Join(t.TempDir(), "store")
		cmd := program(t, "pull-build", "--working-dir", work, image)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(took*time.Duration(i)/moments, func() { _ = cmd.Process.Kill() })
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
