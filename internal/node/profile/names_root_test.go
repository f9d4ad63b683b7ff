package profile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestTwoInOneSecond: a profile writes to a file of its own, however many are made in
// one second. Here all names of the next minutes are taken.
func TestTwoInOneSecond(t *testing.T) {
	r := newRig(t, sleeper...)
	r.says("asleep")
	const first = "the first one's"
	p := r.profiler("", 5*time.Minute)
	if result, err := p.Run(t.Context(), r.target, Start); err != nil {
		t.Fatal(err, result.Output)
	}
	var taken []string
	begin := time.Now()
	for second := range 600 {
		at := begin.Add(time.Duration(second) * time.Second).UTC().Format("20060102150405")
		for _, form := range []string{"jstack-1-%s.txt", "recording-1-%s.bin"} {
			taken = append(taken, filepath.Join(r.target.Artifacts, fmt.Sprintf(form, at)))
		}
	}
	for _, file := range taken {
		r.must(os.WriteFile(file, []byte(first), 0o666))
		r.must(os.Chmod(file, 0o666))
	}
	for verb, name := range map[Verb]string{JStack: `^jstack-1-\d{14}-1\.txt$`, JMap: `^recording-1-\d{14}-1\.bin$`} {
		result, err := p.Run(t.Context(), r.target, verb)
		if err != nil || len(result.Files) != 1 || !regexp.MustCompile(name).MatchString(filepath.Base(result.Files[0])) {
			t.Errorf("%s: %v: %v %s", verb, err, result.Files, result.Output)
		}
	}
	for _, file := range taken {
		if text, err := os.ReadFile(file); err != nil || string(text) != first {
			t.Fatalf("%s was written again, %v: %.100s", file, err, text)
		}
	}
	// The kernel's clock ticks on between two dumps, so that their names may differ anyway.
	files := map[string]bool{}
	for range 3 {
		result, err := p.Run(t.Context(), r.target, Dump)
		if err != nil || len(result.Files) != 1 || files[result.Files[0]] {
			t.Fatalf("dump: %v: %v %s", err, result.Files, result.Output)
		}
		files[result.Files[0]] = true
	}
}
